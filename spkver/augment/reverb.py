"""Reverberation with impulse responses from packs, or with synthetic rooms.

A synthetic room is a direct path and exponentially decaying noise (Polack's model).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from spkver.augment.draw import WHITE, Crops, Drawn, Open, Paths, Range, convolve, floats, power, white
from spkver.config import Component, refuse_unused

FIRST_REFLECTION = 0.002  # seconds after the direct path
SHORTEST_RT60 = 0.01


class ReverbConfig(Component):
    """Reverberation times in seconds (decay by 60 dB), direct-to-reverberant ratios in dB; both for synthetic rooms."""

    name: Literal["reverb"] = "reverb"
    probability: float = Field(0.3, ge=0, le=1)
    """probability that a sample is changed"""
    packs: Paths = Field(
        (), description="audio packs of impulse responses (made with --min-seconds 0); empty: synthetic rooms"
    )
    longest: float = Field(1.0, gt=0, description="seconds of a packed response that are used, from its direct path on")
    rt60: Range = (0.1, 0.7)
    """reverberation time in seconds: lowest and highest"""
    direct_ratio_db: Range = (-3.0, 12.0)
    """direct-to-reverberant ratio in dB: lowest and highest"""

    @model_validator(mode="after")
    def _rooms(self) -> ReverbConfig:
        if self.rt60[0] < SHORTEST_RT60:
            raise ValueError(f"rt60 must be at least {SHORTEST_RT60:g} s, got {self.rt60[0]:g}")
        if self.packs:
            refuse_unused(self, "with packs", "rt60", "direct_ratio_db")
        else:
            refuse_unused(self, "without packs", "longest")
        return self


class Reverb:
    """Convolves a share of the batch with random impulse responses; level and alignment of a sample are kept."""

    Config = ReverbConfig

    def __init__(self, config: ReverbConfig, sample_rate: int, open_pack: Open) -> None:
        self.config, self.sample_rate = config, sample_rate
        self._responses = Crops([open_pack(path) for path in config.packs])
        self.taps = max(1, round((config.longest if config.packs else config.rt60[1]) * sample_rate))

    def draw(self, batch: int, places: np.ndarray, length: int, random: np.random.Generator) -> Drawn:
        """rows: indices into `places`; and for each a response from the packs, or the parameters of a room."""
        config = self.config
        pick = random.random(batch) < config.probability
        rt60 = random.uniform(*config.rt60, batch)
        ratio = random.uniform(*config.direct_ratio_db, batch)
        chance = random.random(batch)
        rows = np.flatnonzero(pick[places])
        chosen = places[rows]
        drawn = {"rows": torch.from_numpy(rows)}
        if config.packs:
            return drawn | {"responses": torch.from_numpy(self._read(chance[chosen]))}
        first = torch.from_numpy((chance[chosen] * WHITE).astype(np.int64))
        return drawn | {"first": first, "rt60": floats(rt60[chosen]), "direct_ratio_db": floats(ratio[chosen])}

    def __call__(self, values: Tensor, drawn: Drawn) -> Tensor:
        """(batch, time) to the same shape."""
        rows = drawn["rows"]
        if not len(rows):
            return values
        dry = values.index_select(0, rows)
        wet = convolve(dry, drawn["responses"].float() if "responses" in drawn else self._rooms(drawn))
        wet = wet * (power(dry) / power(wet)).sqrt()
        return values.index_copy(0, rows, wet)

    def _read(self, chance: np.ndarray) -> np.ndarray:
        """int16 (rows, taps): responses from their direct path (the largest sample) on."""
        out = np.zeros((len(chance), self.taps), np.int16)
        for row, which in enumerate(chance.tolist()):
            # samples before the direct path are propagation delay and are cut
            response = self._responses.beginning(which, 4 * self.taps)
            up, down = int(response.argmax()), int(response.argmin())
            direct = up if int(response[up]) >= -int(response[down]) else down
            response = response[direct : direct + self.taps]
            out[row, : len(response)] = response
        return out

    def _rooms(self, drawn: Drawn) -> Tensor:
        """(rows, taps) impulse responses whose direct path is the first sample, at 1."""
        tail = white(drawn["first"], self.taps)
        time = torch.arange(self.taps, device=tail.device) / self.sample_rate
        tail = tail * torch.exp(-3 * math.log(10) * time / drawn["rt60"])  # amplitude falls by 60 dB in rt60
        tail[:, : int(FIRST_REFLECTION * self.sample_rate)] = 0.0
        ratio = 10 ** (drawn["direct_ratio_db"] / 10)
        tail = tail / (tail.square().sum(dim=-1, keepdim=True) * ratio).sqrt()
        tail[:, 0] = 1.0
        return tail
