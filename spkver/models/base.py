"""The contracts of networks and poolings."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from spkver.config import Component


class Network(nn.Module, ABC):
    """Base of the networks: `Network(config, bins)`."""

    dim: int
    """of the embedding"""
    min_frames: int
    """the shortest input"""
    whole_seconds: float = 300.0
    """what is longer is embedded window by window"""
    fixed_precision: bool = False
    """whether it computes in one precision whatever autocast says"""
    resolved: Component | None = None
    """its config where the given one pointed elsewhere, so that a model directory stands alone"""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""


class Pooling(nn.Module, ABC):
    """Base of the poolings: `Pooling(config, channels)`."""

    size: int
    """of what it gives"""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames), one frame or more, to (batch, size)."""
