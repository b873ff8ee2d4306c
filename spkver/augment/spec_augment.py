"""SpecAugment (Park et al., Interspeech 2019) with separate masks for every sample."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from spkver.augment.draw import Drawn
from spkver.config import Component


class SpecAugmentConfig(Component):
    """Number and maximum width of the masks; widths are uniform from 0 to the maximum."""

    name: Literal["spec_augment"] = "spec_augment"
    probability: float = Field(1.0, ge=0, le=1)
    """probability that a sample is changed"""
    frequency_masks: int = Field(1, ge=0)
    """bands of bins that are set to 0"""
    frequency_width: int = Field(10, ge=0, description="bins")
    time_masks: int = Field(1, ge=0)
    """intervals of frames that are set to 0"""
    time_width: int = Field(20, ge=0, description="frames")


class SpecAugment:
    """Sets masked bands and time spans to 0, the mean of normalised features."""

    Config = SpecAugmentConfig

    def __init__(self, config: SpecAugmentConfig, bins: int) -> None:
        self.config, self.bins = config, bins

    def draw(self, batch: int, places: np.ndarray, length: int, random: np.random.Generator) -> Drawn:
        """bands and intervals: int32 (rows, masks, 2), start and exclusive end."""
        config = self.config
        apply = random.random(batch) < config.probability
        bands = _masks(batch, self.bins, config.frequency_masks, config.frequency_width, random)
        stretches = _masks(batch, length, config.time_masks, config.time_width, random)
        masks = {"bands": bands, "stretches": stretches}
        return {name: torch.from_numpy((mask * apply[:, None, None])[places]) for name, mask in masks.items()}

    def __call__(self, values: Tensor, drawn: Drawn) -> Tensor:
        """(batch, frames, bins) to the same shape."""
        _, frames, bins = values.shape
        band, stretch = _inside(drawn["bands"], bins), _inside(drawn["stretches"], frames)
        return values.masked_fill(band[:, None, :] | stretch[:, :, None], 0.0)


def _masks(batch: int, size: int, count: int, width: int, random: np.random.Generator) -> np.ndarray:
    """int32 (batch, count, 2): random intervals of at most `width` within `size`."""
    width_ = random.integers(0, min(width, size) + 1, (batch, count))
    start = (random.random((batch, count)) * (size - width_ + 1)).astype(np.int32)
    return np.stack([start, start + width_], axis=-1).astype(np.int32)


def _inside(masks: Tensor, size: int) -> Tensor:
    """(batch, size), true inside any of the intervals."""
    position = torch.arange(size, device=masks.device)
    return ((position >= masks[..., :1]) & (position < masks[..., 1:])).any(dim=1)
