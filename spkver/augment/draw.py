"""Shared by augmentations: ranges, random choices, levels, and recordings to mix in.

An augmentation has two steps. `draw` runs on the host, ahead of the training step: it makes all random choices and
reads from packs. The call runs on the device without random choices: shapes are known beforehand, so the host never
waits for the device. Choices are made for the whole batch of a step and then selected at `places`, so a part of a batch
gets the same augmentation as in the whole batch.
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

WHITE = 1 << 20  # samples of stored noise, about a minute at 16 kHz

Drawn = dict[str, Tensor]


class Augmentation(Protocol):
    """A change of waveforms (batch, time) or features (batch, frames, bins)."""

    def draw(self, batch: int, places: np.ndarray, length: int, random: np.random.Generator) -> Drawn:
        """Random choices for the rows at `places` of a batch of `batch` rows of `length` samples or frames."""

    def __call__(self, values: Tensor, drawn: Drawn) -> Tensor:
        """Apply the choices to the rows at those places; not in-place."""


class Recordings(Protocol):
    """The interface of an audio pack: int16 recordings with cheap crops."""

    @property
    def path(self) -> Path:
        """The path of the pack."""

    @property
    def lengths(self) -> np.ndarray:
        """Samples of every recording, int64 (rows,)."""

    def crop(self, row: int, start: int, length: int) -> np.ndarray:
        """int16 (length,)."""


Open = Callable[[str], Recordings]  # opens an audio pack of the required sample rate by its path


def _rising(value: tuple[Any, Any]) -> tuple[Any, Any]:
    if value[0] > value[1]:
        raise ValueError(f"a range must go from its lower to its upper end, got {value[0]:g} to {value[1]:g}")
    return value


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Range = Annotated[tuple[float, float], AfterValidator(_rising)]
"""Lower and upper end of a uniform distribution."""

IntRange = Annotated[tuple[int, int], AfterValidator(_rising)]
"""Lower and upper end, both inclusive."""

Paths = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""One path or several."""


def floats(values: np.ndarray) -> Tensor:
    """One number per row as (rows, 1) float32."""
    return torch.from_numpy(values.astype(np.float32)[:, None])


def power(waveform: Tensor) -> Tensor:
    """Mean square over time, (batch, 1), never zero."""
    return waveform.square().mean(dim=-1, keepdim=True).clamp_min(1e-10)


def convolve(waveform: Tensor, response: Tensor) -> Tensor:
    """Linear convolution of rows (rows, time) by FFT, cut to the waveform's length.

    torchaudio's fftconvolve is several times slower, because it does not choose the size of the FFT.
    """
    from scipy.fft import next_fast_len

    samples = waveform.shape[-1]
    size = next_fast_len(samples + response.shape[-1] - 1, real=True)
    product = torch.fft.rfft(waveform, n=size) * torch.fft.rfft(response, n=size)
    return torch.fft.irfft(product, n=size)[..., :samples]


@functools.lru_cache(maxsize=4)
def _white(device: torch.device) -> Tensor:
    values = np.random.default_rng(0).standard_normal(WHITE, dtype=np.float32)
    return torch.from_numpy(values).to(device)


def white(first: Tensor, length: int) -> Tensor:
    """Gaussian noise (rows, length) of variance 1: stored noise from `first` (rows,) on, wrapping around.

    So the noise of a row depends on a single number, not on the batch or the device.
    """
    place = torch.arange(min(length, WHITE), device=first.device)
    noise = _white(first.device)[(first[:, None] + place) % WHITE]
    return noise if length <= WHITE else noise.repeat(1, -(-length // WHITE))[:, :length]


class Crops:
    """Random pieces of the recordings of packs; all recordings are equally likely."""

    def __init__(self, packs: Sequence[Recordings]) -> None:
        self._packs = packs
        self._ends = np.cumsum([len(pack.lengths) for pack in packs])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def piece(self, which: float, where: float, length: int) -> np.ndarray:
        """int16 (length,): a piece whose recording and start are chosen by two numbers in [0, 1).

        A recording that is too short is repeated.
        """
        pack, row = self._find(which)
        have = int(pack.lengths[row])
        if have >= length:
            return pack.crop(row, int(where * (have - length + 1)), length)
        return np.take(pack.crop(row, 0, have), np.arange(length) + int(where * have), mode="wrap")

    def beginning(self, which: float, length: int) -> np.ndarray:
        """int16 (up to length,): the first samples of the recording chosen by a number in [0, 1)."""
        pack, row = self._find(which)
        return pack.crop(row, 0, min(length, int(pack.lengths[row])))

    def _find(self, which: float) -> tuple[Recordings, int]:
        row = int(which * len(self))
        number = int(np.searchsorted(self._ends, row, side="right"))
        return self._packs[number], row - (int(self._ends[number - 1]) if number else 0)
