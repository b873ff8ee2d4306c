"""Noise gate: digital silence in pauses, as made by recorders, editors and conferencing software."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from spkver.augment.draw import Drawn, Open, Range, floats
from spkver.config import Component

FRAME_SECONDS = 0.01
HOLD_FRAMES = 5  # the gate opens this much before, and closes this much after, loud frames


class GateConfig(Component):
    """below_db: frames this far below the loudest 10 ms become zeros."""

    name: Literal["gate"] = "gate"
    probability: float = Field(0.2, ge=0, le=1)
    """probability that a sample is changed"""
    below_db: Range = (25.0, 50.0)
    """threshold of the gate in dB below the loudest part: lowest and highest"""


class Gate:
    """Sets the quiet parts of a share of the batch to zero, each sample below its own level."""

    Config = GateConfig

    def __init__(self, config: GateConfig, sample_rate: int, open_pack: Open) -> None:
        self.config = config
        self.frame = max(1, round(FRAME_SECONDS * sample_rate))

    def draw(self, batch: int, places: np.ndarray, length: int, random: np.random.Generator) -> Drawn:
        """rows: indices into `places`; below_db: float32 (rows, 1)."""
        pick = random.random(batch) < self.config.probability
        below = random.uniform(*self.config.below_db, batch)
        rows = np.flatnonzero(pick[places])
        return {"rows": torch.from_numpy(rows), "below_db": floats(below[places[rows]])}

    def __call__(self, values: Tensor, drawn: Drawn) -> Tensor:
        """(batch, time) to the same shape."""
        rows = drawn["rows"]
        if not len(rows):
            return values
        plain = values.index_select(0, rows)
        length = plain.shape[1]
        frames = F.pad(plain, (0, -length % self.frame)).unflatten(1, (-1, self.frame))
        power = frames.square().mean(dim=-1)
        loud = (power >= power.amax(dim=-1, keepdim=True) * 10 ** (-drawn["below_db"] / 10)).float()
        opened = F.max_pool1d(loud, 2 * HOLD_FRAMES + 1, stride=1, padding=HOLD_FRAMES)
        gated = (frames * opened[..., None]).flatten(1)[:, :length]
        return values.index_copy(0, rows, gated)
