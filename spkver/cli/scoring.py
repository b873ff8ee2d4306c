"""Options of the commands that score: which embeddings are compared, and how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.formats.convert import read
from spkver.scoring import cosine
from spkver.scoring.sides import Sides
from spkver.trials import read_enrolment

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option("--test", type=_FILE, help="Embeddings of the test side, if in another file."),
    click.option("--enrolment", type=_FILE, help="Lines of `model utterance utterance ...` (spk2utt)."),
    click.option("--mean", type=_FILE, help="Subtract the mean of the embeddings in this file."),
    click.option("--chain", type=_FILE, help="Transform the embeddings first (spkver transform)."),
    click.option("--plda", type=_FILE, help="Score with this PLDA model (spkver plda)."),
    click.option("--device", default="cpu", show_default=True, help="Device for matrix products: cpu or cuda."),
)


def options(command: CommandT) -> CommandT:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class BackEnd:
    """How embeddings are read, transformed and compared.

    Raises InputError for a mean together with a PLDA model, which has its own.
    """

    def __init__(self, mean: Path | None, chain: Path | None, plda: Path | None, device: str) -> None:
        if mean and plda:
            raise InputError("--plda has its own mean: leave out --mean")
        self._change = read_chain(chain)
        self._mean = self.read(mean) if mean else None
        self._plda = _read_plda(plda) if plda else None
        self._device = device

    def read(self, path: Path) -> Embeddings:
        """Embeddings in any format, transformed."""
        return self._change(read(path))

    def sides(
        self, own: Embeddings, test: Embeddings | None = None, enrolment: dict[str, list[str]] | None = None
    ) -> Sides:
        """Prepare embeddings for comparison."""
        if self._plda:
            ready: Sides = self._plda.sides(own, enrolment=enrolment, test=test, device=self._device)
            return ready
        mean = cosine.mean_of(self._mean, like=own) if self._mean else None
        return cosine.sides(own, enrolment=enrolment, mean=mean, test=test, device=self._device)


def sides(embeddings: Path, *, test: Path | None, enrolment: Path | None, **how: Any) -> Sides:
    """The sides that the options describe."""
    back_end = BackEnd(**how)
    other = back_end.read(test) if test else None
    return back_end.sides(back_end.read(embeddings), other, read_enrolment(enrolment) if enrolment else None)


def read_chain(path: Path | None) -> Callable[[Embeddings], Embeddings]:
    """The chain in a directory, or the identity for None (then the chain module is not imported)."""
    if path is None:
        return lambda embeddings: embeddings
    from spkver.scoring import chain

    return chain.read_chain(path)


def _read_plda(path: Path) -> Any:
    from spkver.scoring import plda

    return plda.read_plda(path)
