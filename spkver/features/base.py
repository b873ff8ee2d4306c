"""The base class of front ends."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from spkver.features.config import FrontEndBase


class FrontEndModule(nn.Module, ABC):
    """Base class of front ends: `FrontEnd(config)`, without weights, deterministic outside training."""

    config: FrontEndBase

    @abstractmethod
    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, time) float in [-1, 1] to (batch, frames, bins) float32."""
