"""The options by which commands say what is compared, and how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spkver.interop.convert import read
from spkver.scoring import cosine
from spkver.scoring.sides import Sides
from spkver.trials import read_enrolment

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--test", type=click.Path(path_type=Path), help="Embeddings of the test side, if in a file of their own."
    ),
    click.option(
        "--enrolment", type=click.Path(path_type=Path), help="Lines of `model utterance utterance ...` (spk2utt)."
    ),
    click.option("--mean", type=click.Path(path_type=Path), help="Subtract the mean of the embeddings in this file."),
    click.option("--device", default="cpu", show_default=True, help="Where the products are made: cpu, or cuda."),
)


def options(command: CommandT) -> CommandT:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def sides(embeddings: Path, *, test: Path | None, enrolment: Path | None, mean: Path | None, device: str) -> Sides:
    """What the options name."""
    vectors = read(embeddings)
    return cosine.sides(
        vectors,
        enrolment=read_enrolment(enrolment) if enrolment else None,
        mean=cosine.mean_of(read(mean), like=vectors) if mean else None,
        test=read(test) if test else None,
        device=device,
    )
