"""A baseline without parameters: the mean of the features over time."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from spkver.config import Component
from spkver.models.base import Network


class MeanFbankConfig(Component):
    """Mean features; the front end must not subtract the mean (`front_end: {normalise: none}`)."""

    name: Literal["mean_fbank"] = "mean_fbank"


class MeanFbank(Network):
    """A lower bound for trained networks."""

    Config = MeanFbankConfig
    min_frames = 1

    def __init__(self, config: MeanFbankConfig, bins: int) -> None:
        super().__init__()
        self.dim = bins

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, bins)."""
        return features.float().mean(dim=1)
