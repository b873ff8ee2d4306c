"""Weightings: a factor on the loss of each sample, computed from that loss.

A weighting gets the losses only, so it can be combined with every head, reduction, margin and selector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.config import Component


class WeightingConfig(Component):
    """Base class of the configs of weightings."""


class Weighting(ABC):
    """Base class of weightings: `Weighting(config)`."""

    @abstractmethod
    def __call__(self, loss: Tensor) -> Tensor:
        """The weighted losses (N,); the gradient includes that of the weights."""


class EqualConfig(WeightingConfig):
    """All samples have the same weight."""

    name: Literal["equal"] = "equal"


class Equal(Weighting):
    """All samples have the same weight."""

    Config = EqualConfig

    def __init__(self, config: EqualConfig) -> None:
        pass

    def __call__(self, loss: Tensor) -> Tensor:
        """See Weighting."""
        return loss


class FocalConfig(WeightingConfig):
    """Focal loss (Lin et al., ICCV 2017): the loss -log p has the weight (1 - p)^gamma; p includes the margin."""

    name: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0)
    """0: equal weights; a larger value reduces the weight of easy samples"""


class Focal(Weighting):
    """Reduces the weight of samples that are classified well."""

    Config = FocalConfig

    def __init__(self, config: FocalConfig) -> None:
        self.gamma = config.gamma

    def __call__(self, loss: Tensor) -> Tensor:
        """See Weighting."""
        # 1 - p with p = exp(-loss); kept above 0, because there the derivative of a power below 1 is infinite
        wrong = (-torch.expm1(-loss)).clamp_min(torch.finfo(loss.dtype).tiny)
        return wrong.pow(self.gamma) * loss
