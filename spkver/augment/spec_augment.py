"""SpecAugment (Park et al., Interspeech 2019) with masks of its own for every sample."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.augment.draw import chosen, uniform
from spkver.config import Component


class SpecAugmentConfig(Component):
    """Number and greatest width of the masks; a mask's width is drawn from 0 to that."""

    name: Literal["spec_augment"] = "spec_augment"
    probability: float = Field(1.0, ge=0, le=1)
    frequency_masks: int = Field(1, ge=0)
    frequency_width: int = Field(10, ge=0, description="bins")
    time_masks: int = Field(1, ge=0)
    time_width: int = Field(20, ge=0, description="frames")


class SpecAugment:
    """Sets masked bands and stretches to 0, the mean of normalised features."""

    Config = SpecAugmentConfig

    def __init__(self, config: SpecAugmentConfig) -> None:
        self.config = config

    def __call__(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """(batch, frames, bins) to the same shape."""
        config = self.config
        batch, frames, bins = features.shape
        apply = chosen(batch, config.probability, generator).bool()
        band = _masks(batch, bins, config.frequency_masks, config.frequency_width, generator) & apply
        stretch = _masks(batch, frames, config.time_masks, config.time_width, generator) & apply
        return features.masked_fill(band[:, None, :] | stretch[:, :, None], 0.0)


def _masks(batch: int, size: int, count: int, width: int, generator: torch.Generator) -> Tensor:
    """(batch, size) true inside any of `count` intervals."""
    shape = (batch, count, 1)
    length = uniform(shape, 0, min(width, size) + 1, generator).floor()
    start = (uniform(shape, 0, 1, generator) * (size - length + 1)).floor()
    position = torch.arange(size, device=generator.device)
    return ((position >= start) & (position < start + length)).any(dim=1)
