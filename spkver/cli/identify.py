"""`spkver identify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from spkver.cli import voices
from spkver.errors import InputError


@click.command(name="identify")
@click.argument("files", nargs=-1, required=True, type=voices.FILE)
@voices.model
@voices.book
@voices.threshold
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="How many people to name.")
@voices.channel
@voices.as_json
def command(
    files: tuple[Path, ...],
    model: Path | None,
    book: Path | None,
    threshold: float | None,
    top: int,
    channel: int | None,
    as_json: bool,
) -> None:
    """Find the person of the speaker book who speaks in each of FILES, if any.

    Prints one line per file: the file, the person and the score of `spkver verify`. If no score reaches the threshold,
    the name is `nobody known`. With --top N, the N best people follow, one line each.

    \b
    Example: spkver identify call.wav --model exp/xvector/model
    """
    from spkver.progress import bar
    from spkver.verify import book as books

    where = voices.place(book)
    opened = books.open_book(where)
    if not len(opened):
        raise InputError(f"{where}: the book is empty; add people with spkver enrol NAME FILES")
    verifier = voices.load(model)
    opened.require(verifier.model_id)
    least = voices.required(threshold, verifier)
    if threshold is None and verifier.decision is not None:
        voices.warn(books.strangers(len(opened), verifier.decision.far))
    people = opened.people(verifier.cohort)
    found: list[dict[str, Any]] = []
    with bar(total=len(files), what="identify", unit="file") as progress:
        for file in files:
            heard = verifier.listen(file, channel=channel)
            voices.warn(heard.doubts)
            matches = people.rank(heard.vector, top)
            name = matches[0].name if matches[0].score >= least else None
            candidates = [match._asdict() for match in matches]
            found.append(
                {"file": str(file), "name": name, "threshold": least, "candidates": candidates, "doubts": heard.doubts}
            )
            progress.update()
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(found, top)))


def _lines(found: list[dict[str, Any]], top: int) -> list[str]:
    lines = []
    for one in found:
        if one["name"] is None:
            lines.append(f"{one['file']}\tnobody known\t{one['candidates'][0]['score']:.4f}")
        if one["name"] is not None or top > 1:
            for match in one["candidates"]:
                below = "" if match["score"] >= one["threshold"] else "\tbelow the threshold"
                lines.append(f"{one['file']}\t{match['name']}\t{match['score']:.4f}{below}")
    return lines
