"""Weightings: how much the loss of each sample counts, by that loss.

A weighting sees the losses alone, so it goes with every head, reduction, margin and selector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.config import Component


class WeightingConfig(Component):
    """Base of the weightings' configs."""


class Weighting(ABC):
    """Base of the weightings: `Weighting(config)`."""

    @abstractmethod
    def __call__(self, loss: Tensor) -> Tensor:
        """The losses (N,) of the samples, weighted, with gradient also through the weights."""


class EqualConfig(WeightingConfig):
    """Every sample counts alike."""

    name: Literal["equal"] = "equal"


class Equal(Weighting):
    """Every sample counts alike."""

    Config = EqualConfig

    def __init__(self, config: EqualConfig) -> None:
        pass

    def __call__(self, loss: Tensor) -> Tensor:
        """See Weighting."""
        return loss


class FocalConfig(WeightingConfig):
    """Focal loss (Lin et al., ICCV 2017): a sample's loss -log p counts (1 - p)^gamma, p with the margin."""

    name: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0)
    """0 weighs all samples alike; the larger, the less easy samples count"""


class Focal(Weighting):
    """Samples that the network has right count less."""

    Config = FocalConfig

    def __init__(self, config: FocalConfig) -> None:
        self.gamma = config.gamma

    def __call__(self, loss: Tensor) -> Tensor:
        """See Weighting."""
        # 1 - p of p = exp(-loss); above 0, where a power below 1 has no derivative
        wrong = (-torch.expm1(-loss)).clamp_min(torch.finfo(loss.dtype).tiny)
        return wrong.pow(self.gamma) * loss
