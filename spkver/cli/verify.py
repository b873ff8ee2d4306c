"""`spkver verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spkver.cli import options, voices
from spkver.errors import InputError

if TYPE_CHECKING:
    from spkver.verify.verdict import Verdict

DIFFERENT = 3  # exit code for different speakers with --exit-code


@click.command(name="verify")
@click.argument("files", nargs=-1, required=True, metavar="A B | A... --test B", type=voices.FILE)
@click.option("--test", type=voices.FILE, help="Test recording; all other files enrol one speaker.")
@voices.model
@voices.threshold
@click.option("--prior", type=float, default=0.5, show_default=True, help="Prior probability of the same speaker.")
@voices.channel
@click.option("--exit-code", is_flag=True, help=f"Exit code 0 if the pair is accepted, otherwise {DIFFERENT}.")
@options.as_json
@click.pass_context
def command(
    context: click.Context,
    files: tuple[Path, ...],
    test: Path | None,
    model: str | None,
    threshold: float | None,
    prior: float,
    channel: int | None,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Decide whether two recordings, or an enrolment of several and a test recording, have the same speaker.

    Prints the cosine of the embeddings, from -1 to 1. A model with a stored threshold (`spkver threshold --model`) adds
    the threshold, the decision and the probability of the same speaker. With a stored cohort, as in the packaged model,
    the first number is the score, which is the cosine after S-norm; the cosine is printed last. `below the threshold`
    means a probability above 0.5 but a score below the threshold.
    Warnings about short speech, noise, clipping or another sample rate go to standard error.

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
        verifier.required_threshold(threshold)
    found = verifier.verify(enrolment, test, threshold=threshold, prior=prior, channel=channel)
    voices.warn(found.doubts)
    names = {"enrolment": list(map(str, enrolment)), "test": str(test)}
    click.echo(json.dumps(names | found.plain(), indent=2, ensure_ascii=False) if as_json else _line(found))
    context.exit(DIFFERENT if exit_code and not found.same else 0)


def _line(found: Verdict) -> str:
    normalised = found.cosine is not None and found.cosine != found.score
    words = [f"{'score' if normalised else 'cosine'} {found.score:.4f}"]
    if found.threshold is not None:
        words[0] += f" (threshold {found.threshold:.4f})"
    if found.same is not None:
        likely = found.probability is not None and found.probability > 0.5
        words.append("same speaker" if found.same else "below the threshold" if likely else "different speakers")
    if found.probability is not None:
        words.append(f"probability {_rounded(found.probability)} at a prior of {found.prior:g}")
    if normalised:
        words.append(f"cosine {found.cosine:.4f}")
    return "\t".join(words)


def _rounded(probability: float) -> str:
    """A probability with three digits; never 1, because no comparison is certain."""
    return "above 0.999" if probability > 0.999 else f"{probability:.3g}"
