"""`spkver identify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spkver.cli import options, voices
from spkver.cli.terminal import to_stderr

if TYPE_CHECKING:
    from spkver.verify.people import Identified


@click.command(name="identify")
@click.argument("files", nargs=-1, required=True, type=voices.FILE)
@voices.model
@voices.book
@voices.threshold
@click.option(
    "--top", type=click.IntRange(min=1), default=1, show_default=True, help="Number of nearest people to print."
)
@voices.channel
@click.option(
    "--keep-unknown",
    type=click.IntRange(min=1, max=36500),
    metavar="DAYS",
    help="Keep voices that are not in the book for this many days, as unknown 1, unknown 2, ...",
)
@options.as_json
def command(
    files: tuple[Path, ...],
    model: str | None,
    book: Path | None,
    threshold: float | None,
    top: int,
    channel: int | None,
    keep_unknown: int | None,
    as_json: bool,
) -> None:
    """Find which person of the speaker book speaks in each of FILES.

    Prints one line per file: the file, the person and the score of `spkver verify`. If no score reaches the threshold,
    the name is `nobody known`. If the two nearest people are about equally likely, the name is `ambiguous`, and both
    follow. With --top N, the N nearest people follow, one line each.

    --keep-unknown stores embeddings of unknown voices, so that a voice has the same number in all recordings. These are
    personal data of people who were not asked: use it only where that is allowed. `spkver book name "unknown 3" NAME`
    makes such a voice a person of the book.

    \b
    Example: spkver identify call.wav --model exp/xvector/model
    """
    from spkver.verify.advice import strangers
    from spkver.verify.book import open_book
    from spkver.verify.people import identify

    opened, verifier = open_book(voices.place(book)), voices.load(model)
    found = identify(
        verifier, opened, files, threshold=threshold, top=top, channel=channel, keep_unknown=keep_unknown, say=to_stderr
    )
    if threshold is None and verifier.decision is not None:
        voices.warn(strangers(len(opened), verifier.decision.far))
    voices.warn(doubt for one in found for doubt in one.doubts)
    if as_json:
        click.echo(json.dumps([one.plain() for one in found], indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(line for one in found for line in _lines(one, top)))


def _lines(found: Identified, top: int) -> list[str]:
    lines = []
    if found.name is None:
        outcome = "ambiguous" if found.ambiguous else found.unknown or "nobody known"
        nearest = [] if found.unknown else found.candidates[:1]  # a score is that of the person who is named
        lines.append("\t".join([found.file, outcome, *(f"{match.score:.4f}" for match in nearest)]))
    if found.name is not None or found.ambiguous or top > 1:
        for name, score in found.candidates:
            below = "" if score >= found.threshold else "\tbelow the threshold"
            lines.append(f"{found.file}\t{name}\t{score:.4f}{below}")
    return lines
