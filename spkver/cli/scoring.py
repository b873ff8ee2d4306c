"""The options by which commands say what is compared, and how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spkver.embeddings import Embeddings
from spkver.errors import InputError
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
    click.option("--chain", type=click.Path(path_type=Path), help="Transform the embeddings first (spkver transform)."),
    click.option("--plda", type=click.Path(path_type=Path), help="Log-likelihood ratios of this PLDA (spkver plda)."),
    click.option("--device", default="cpu", show_default=True, help="Where the products are made: cpu, or cuda."),
)


def options(command: CommandT) -> CommandT:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def sides(
    embeddings: Path,
    *,
    test: Path | None,
    enrolment: Path | None,
    mean: Path | None,
    chain: Path | None,
    plda: Path | None,
    device: str,
) -> Sides:
    """What the options name. Raises InputError for --mean with --plda, which has a mean of its own."""
    if mean and plda:
        raise InputError("--plda has a mean of its own: leave out --mean")
    change = read_chain(chain)
    own = change(read(embeddings))
    groups = read_enrolment(enrolment) if enrolment else None
    other = change(read(test)) if test else None
    if plda:
        from spkver.scoring.plda import read_plda

        return read_plda(plda).sides(own, enrolment=groups, test=other, device=device)
    centre = cosine.mean_of(change(read(mean)), like=own) if mean else None
    return cosine.sides(own, enrolment=groups, mean=centre, test=other, device=device)


def read_chain(path: Path | None) -> Callable[[Embeddings], Embeddings]:
    """The chain in a directory, or what leaves embeddings as they are; its module is loaded when there is one."""
    if path is None:
        return lambda embeddings: embeddings
    from spkver.scoring import chain

    return chain.read_chain(path)
