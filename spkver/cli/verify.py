"""`spkver verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spkver.cli import voices
from spkver.errors import InputError

if TYPE_CHECKING:
    from spkver.verify.verdict import Verdict

DIFFERENT = 3  # the exit code that --exit-code asks for


@click.command(name="verify")
@click.argument("files", nargs=-1, required=True, metavar="A B | A... --test B", type=voices.FILE)
@click.option("--test", type=voices.FILE, help="The recording in question; all others are one speaker's enrolment.")
@voices.model
@voices.threshold
@click.option("--prior", type=float, default=0.5, show_default=True, help="Share of pairs that are of one speaker.")
@voices.channel
@click.option("--exit-code", is_flag=True, help=f"Exit with {DIFFERENT} for different speakers; 0 for the same.")
@voices.as_json
@click.pass_context
def command(
    context: click.Context,
    files: tuple[Path, ...],
    test: Path | None,
    model: Path | None,
    threshold: float | None,
    prior: float,
    channel: int | None,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Do two recordings hold the same speaker, or a recording and an enrolment of several?

    \b
    Prints the cosine of the embeddings, from -1 to 1, and where threshold and calibration are kept with the model
    (`spkver threshold --model`) the decision and how likely one speaker is. With a model that keeps a cohort, the score
    is the cosine normalised by it (S-norm), and the cosine stands at the end. `below the threshold`: more likely one
    speaker than not, but not as surely as the threshold asks for. What makes a recording doubtful, such as little
    speech, noise, clipping or another sample rate, is said on standard error.

    \b
    Example:
      spkver verify a.wav b.wav --model exp/xvector/model
      spkver verify a1.wav a2.wav a3.wav --test b.wav
    """
    if test is None:
        if len(files) != 2:
            raise InputError(f"give two recordings, or an enrolment and --test; got {len(files)} without --test")
        *enrolment, test = files
    else:
        enrolment = list(files)
    verifier = voices.load(model)
    if exit_code:
        voices.required(threshold, verifier)
    found = verifier.verify(enrolment, test, threshold=threshold, prior=prior, channel=channel)
    voices.warn(found.doubts)
    names = {"enrolment": list(map(str, enrolment)), "test": str(test)}
    click.echo(json.dumps(names | found.plain(), indent=2, ensure_ascii=False) if as_json else _line(found))
    context.exit(DIFFERENT if exit_code and not found.same else 0)


def _line(found: Verdict) -> str:
    words = [f"{found.score:.4f}"]
    if found.same is not None:
        likely = found.probability is not None and found.probability > 0.5
        words.append("same speaker" if found.same else "below the threshold" if likely else "different speakers")
    if found.probability is not None:
        words.append(f"probability {found.probability:.3g} at a prior of {found.prior:g}")
    if found.cosine is not None and found.cosine != found.score:
        words.append(f"cosine {found.cosine:.4f}")
    return "\t".join(words)
