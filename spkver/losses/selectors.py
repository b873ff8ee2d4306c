"""Selectors: which samples of the batch get the margin.

A selector first says at which ψ rivals are to be counted (before the pass over the classes), then makes its mask from
what the pass found. Both get the whole batch, so that a selector which ranks samples can gather them over processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.config import Component
from spkver.losses.heads import Others, Target

Margin = Callable[[Target, float | Tensor], Tensor]


class Selector(ABC):
    """Base of the selectors. Both methods run without gradient."""

    def threshold(self, target: Target, margin: Margin) -> Tensor | None:
        """Where rivals are counted, (N,); None: at ψ with the margin of the moment, which the loss counts anyhow."""
        return None

    @abstractmethod
    def select(self, target: Target, others: Others, rivals: Tensor) -> Tensor:
        """The mask (N,) bool of samples that get the margin; rivals (N,) int64: how many z_j exceed the threshold."""


class AllConfig(Component):
    """Every sample gets the margin."""

    name: Literal["all"] = "all"


class All(Selector):
    """Every sample gets the margin."""

    Config = AllConfig

    def __init__(self, config: AllConfig) -> None:
        pass

    def select(self, target: Target, others: Others, rivals: Tensor) -> Tensor:
        """See Selector.select."""
        return torch.ones_like(rivals, dtype=torch.bool)


class BoundaryConfig(Component):
    """Samples near a boundary between speakers, by the top-k zero-one loss (Li et al., ICASSP 2019: BD-LMCL).

    A sample is selected when at least k rivals have z_j > ψ, strictly, with ψ at `select_margin`, or at the margin of
    the moment where that is null.
    """

    name: Literal["boundary"] = "boundary"
    k: int = Field(default=1, ge=1)
    select_margin: float | None = Field(default=None, ge=0)


class Boundary(Selector):
    """BD-LMCL's selector: samples whose top-k zero-one loss is 1 once the margin is taken off."""

    Config = BoundaryConfig

    def __init__(self, config: BoundaryConfig) -> None:
        self.k = config.k
        self.select_margin = config.select_margin

    def threshold(self, target: Target, margin: Margin) -> Tensor | None:
        """See Selector.threshold."""
        return None if self.select_margin is None else margin(target, self.select_margin)

    def select(self, target: Target, others: Others, rivals: Tensor) -> Tensor:
        """See Selector.select."""
        return rivals >= self.k
