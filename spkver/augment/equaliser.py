"""Random frequency responses, as of other microphones, distances or tone controls."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from spkver.augment.draw import Drawn, Open, Range, power
from spkver.config import Component

LOWEST_HZ = 62.5


class EqualiserConfig(Component):
    """Gains in dB are drawn per octave from 62.5 Hz up and interpolated linearly over log frequency."""

    name: Literal["equaliser"] = "equaliser"
    probability: float = Field(0.3, ge=0, le=1)
    """probability that a sample is changed"""
    gain_db: Range = (-6.0, 6.0)
    """gain in dB: lowest and highest"""


class Equaliser:
    """Filters a share of the batch, each sample with its own zero-phase response; the level is kept."""

    Config = EqualiserConfig

    def __init__(self, config: EqualiserConfig, sample_rate: int, open_pack: Open) -> None:
        self.config, self.sample_rate = config, sample_rate
        self.octaves = int(np.ceil(np.log2(sample_rate / 2 / LOWEST_HZ))) + 1

    def draw(self, batch: int, places: np.ndarray, length: int, random: np.random.Generator) -> Drawn:
        """rows: indices into `places`; gain_db: float32 (rows, octaves)."""
        pick = random.random(batch) < self.config.probability
        gain = random.uniform(*self.config.gain_db, (batch, self.octaves))
        rows = np.flatnonzero(pick[places])
        return {"rows": torch.from_numpy(rows), "gain_db": torch.from_numpy(gain[places[rows]].astype(np.float32))}

    def __call__(self, values: Tensor, drawn: Drawn) -> Tensor:
        """(batch, time) to the same shape."""
        rows = drawn["rows"]
        if not len(rows):
            return values
        plain = values.index_select(0, rows)
        size = 1 << (values.shape[-1] + self.sample_rate // 20).bit_length()  # room for the filter tail
        spectrum = torch.fft.rfft(plain, n=size)
        filtered = torch.fft.irfft(spectrum * self._response(drawn["gain_db"], spectrum.shape[-1]), n=size)
        filtered = filtered[:, : values.shape[-1]]
        return values.index_copy(0, rows, filtered * (power(plain) / power(filtered)).sqrt())

    def _response(self, gain_db: Tensor, bins: int) -> Tensor:
        """(rows, bins) amplitudes at the frequencies of a spectrum."""
        hz = torch.linspace(0, self.sample_rate / 2, bins, device=gain_db.device)
        place = (hz / LOWEST_HZ).clamp_min(1.0).log2().clamp_max(self.octaves - 1)
        low = place.floor().long().clamp_max(self.octaves - 2)
        share = place - low
        return 10 ** ((gain_db[:, low] * (1 - share) + gain_db[:, low + 1] * share) / 20)
