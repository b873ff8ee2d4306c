"""Base classes of networks and poolings."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from spkver.config import Component


class Network(nn.Module, ABC):
    """Base class of networks: `Network(config, bins)`."""

    dim: int
    """dimension of the embedding"""
    min_frames: int
    """number of frames of the shortest input"""
    whole_seconds: float = 300.0
    """longer recordings are embedded in windows of at most this length"""
    fixed_precision: bool = False
    """whether the precision is fixed and autocast has no effect"""
    resolved: Component | None = None
    """complete config to store in a model directory, if the given config refers to another source"""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""


class Pooling(nn.Module, ABC):
    """Base class of poolings: `Pooling(config, channels)`."""

    size: int
    """number of output values"""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames), one frame or more, to (batch, size)."""
