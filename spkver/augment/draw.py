"""What the augmentations share: ranges, draws, levels, and recordings to mix in.

An augmentation has two halves. `draw` runs on the host, ahead of the step: every choice, and what is read from packs,
as a function of a random stream. The call runs on the device and chooses nothing: the shapes are known beforehand, so
that the host never waits for the device. The choices are made for the whole batch of a step and then taken at `places`,
so that a part of the batch gets what it would get in the whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from pydantic import AfterValidator, BeforeValidator
from torch import Tensor

WHITE = 1 << 20  # samples of noise to take pieces of, a minute at 16 kHz

Drawn = dict[str, Tensor]


class Augmentation(Protocol):
    """A change of waveforms (batch, time) or features (batch, frames, bins)."""

    def draw(self, batch: int, places: np.ndarray, length: int, random: np.random.Generator) -> Drawn:
        """The choices for the rows at `places` of a batch of so many, of so many samples or frames."""

    def __call__(self, values: Tensor, drawn: Drawn) -> Tensor:
        """The rows at those places, changed; not in place."""


class Recordings(Protocol):
    """What an audio pack has: int16 recordings of which crops are cheap."""

    @property
    def path(self) -> Path:
        """Where they are."""

    @property
    def lengths(self) -> np.ndarray:
        """Samples of every recording, int64 (rows,)."""

    def crop(self, row: int, start: int, length: int) -> np.ndarray:
        """int16 (length,)."""


Open = Callable[[str], Recordings]  # an audio pack of the sample rate in question, by its path


def _rising(value: tuple[Any, Any]) -> tuple[Any, Any]:
    if value[0] > value[1]:
        raise ValueError(f"a range goes from its lower to its upper end, got {value[0]:g} to {value[1]:g}")
    return value


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Range = Annotated[tuple[float, float], AfterValidator(_rising)]
"""From and to; a draw is uniform between them."""

IntRange = Annotated[tuple[int, int], AfterValidator(_rising)]
"""From and to, both included."""

Paths = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""One path or several."""


def floats(values: np.ndarray) -> Tensor:
    """Numbers of the rows as (rows, 1) float32."""
    return torch.from_numpy(values.astype(np.float32)[:, None])


def power(waveform: Tensor) -> Tensor:
    """Mean square over time, (batch, 1), never zero."""
    return waveform.square().mean(dim=-1, keepdim=True).clamp_min(1e-10)


@functools.lru_cache(maxsize=4)
def _white(device: torch.device) -> Tensor:
    values = np.random.default_rng(0).standard_normal(WHITE, dtype=np.float32)
    return torch.from_numpy(values).to(device)


def white(first: Tensor, length: int) -> Tensor:
    """Gaussian noise (rows, length) of variance 1: a stored piece, from a drawn place `first` (rows,) on, in a circle.

    So the noise of a row is a function of one number, whatever the batch, the device and their number.
    """
    place = torch.arange(min(length, WHITE), device=first.device)
    noise = _white(first.device)[(first[:, None] + place) % WHITE]
    return noise if length <= WHITE else noise.repeat(1, -(-length // WHITE))[:, :length]


class Crops:
    """Random pieces of the recordings of some packs; every recording is as likely as another."""

    def __init__(self, packs: Sequence[Recordings]) -> None:
        self._packs = packs
        self._ends = np.cumsum([len(pack.lengths) for pack in packs])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def piece(self, which: float, where: float, length: int) -> np.ndarray:
        """int16 (length,) of the recording and from the place that two numbers in [0, 1) choose.

        A recording that is too short goes on from its beginning.
        """
        pack, row = self._find(which)
        have = int(pack.lengths[row])
        if have >= length:
            return pack.crop(row, int(where * (have - length + 1)), length)
        return np.take(pack.crop(row, 0, have), np.arange(length) + int(where * have), mode="wrap")

    def beginning(self, which: float, length: int) -> np.ndarray:
        """int16 (up to length,), the first samples of the recording that a number in [0, 1) chooses."""
        pack, row = self._find(which)
        return pack.crop(row, 0, min(length, int(pack.lengths[row])))

    def _find(self, which: float) -> tuple[Recordings, int]:
        row = int(which * len(self))
        number = int(np.searchsorted(self._ends, row, side="right"))
        return self._packs[number], row - (int(self._ends[number - 1]) if number else 0)
