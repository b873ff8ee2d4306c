"""Selectors: which samples of the batch get the margin, or how much of it.

A selector can give a threshold for counting rivals (before the reduction over the classes), and then computes a mask or
weights from the result of the reduction. Selectors that rank samples use the global batch of all processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.config import Component
from spkver.losses.gathering import over_processes
from spkver.losses.reductions.base import Others, Target

Margin = Callable[[Target, float], Tensor]


class SelectorConfig(Component):
    """Base class of the configs of selectors."""

    angular: ClassVar[bool] = False
    """whether the selector needs a cosine"""

    @property
    def margins(self) -> tuple[float, ...]:
        """Margins for counting rivals, other than the current one."""
        return ()


class Selector(ABC):
    """Base class of selectors. Both methods run without gradient."""

    def threshold(self, target: Target, margin: Margin) -> Tensor | None:
        """The threshold for counting rivals, (N,); None: ψ with the current margin."""
        return None

    @abstractmethod
    def select(self, target: Target, others: Others, psi: Tensor, rivals: Tensor) -> Tensor:
        """The share of the margin for each sample: a mask (N,) bool, or weights from 0 to 1.

        psi: ψ with the current margin, (N,); rivals: the number of z_j above the threshold, int64 (N,)
        """


class AllConfig(SelectorConfig):
    """Every sample gets the margin."""

    name: Literal["all"] = "all"


class All(Selector):
    """Every sample gets the margin."""

    Config = AllConfig

    def __init__(self, config: AllConfig) -> None:
        pass

    def select(self, target: Target, others: Others, psi: Tensor, rivals: Tensor) -> Tensor:
        """See Selector.select."""
        return torch.ones_like(rivals, dtype=torch.bool)


class BoundaryConfig(SelectorConfig):
    """Samples near a boundary between speakers, by the top-k zero-one loss (Li et al., ICASSP 2019: BD-LMCL).

    A sample is selected if at least k rivals have z_j > ψ, with ψ for the margin `select_margin`, or for the current
    margin.
    """

    name: Literal["boundary"] = "boundary"
    k: int = Field(default=1, ge=1)
    """minimum number of rivals above ψ"""
    select_margin: float | None = Field(default=None, ge=0)
    """margin for counting rivals; null: the current margin"""

    @property
    def margins(self) -> tuple[float, ...]:
        """See SelectorConfig.margins."""
        return () if self.select_margin is None else (self.select_margin,)


class Boundary(Selector):
    """The selector of BD-LMCL: samples whose top-k zero-one loss, with the margin, is 1."""

    Config = BoundaryConfig

    def __init__(self, config: BoundaryConfig) -> None:
        self.k = config.k
        self.select_margin = config.select_margin

    def threshold(self, target: Target, margin: Margin) -> Tensor | None:
        """See Selector.threshold."""
        return None if self.select_margin is None else margin(target, self.select_margin)

    def select(self, target: Target, others: Others, psi: Tensor, rivals: Tensor) -> Tensor:
        """See Selector.select."""
        return rivals >= self.k


class SoftBoundaryConfig(SelectorConfig):
    """A soft boundary: the weight of a sample is sigmoid((largest z_j - ψ) / width).

    In the limit of width 0, this is `boundary` with k = 1.
    """

    name: Literal["soft_boundary"] = "soft_boundary"
    width: float = Field(default=1.0, gt=0)
    """width of the transition, in units of logits"""


class SoftBoundary(Selector):
    """A continuous version of the boundary selector."""

    Config = SoftBoundaryConfig

    def __init__(self, config: SoftBoundaryConfig) -> None:
        self.width = config.width

    def select(self, target: Target, others: Others, psi: Tensor, rivals: Tensor) -> Tensor:
        """See Selector.select."""
        return torch.sigmoid((others.largest - psi) / self.width)


class HardestConfig(SelectorConfig):
    """The samples with the largest loss with the margin (L - ψ): a share of the batch, rounded, and at least one.

    Samples as hard as the last of them are selected, too.
    """

    name: Literal["hardest"] = "hardest"
    share: float = Field(default=0.5, gt=0, le=1)
    """share of the batch"""


class Hardest(Selector):
    """The hardest share of the batch."""

    Config = HardestConfig

    def __init__(self, config: HardestConfig) -> None:
        self.share = config.share

    def select(self, target: Target, others: Others, psi: Tensor, rivals: Tensor) -> Tensor:
        """See Selector.select. A sample with a NaN loss counts as the easiest."""
        hardness = torch.nan_to_num(others.logsumexp - psi, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        batch = over_processes(hardness)
        number = max(1, round(self.share * len(batch)))
        return hardness >= batch.topk(number).values[-1]


class CosineConfig(SelectorConfig):
    """Samples far from their own prototype: those with c_y < below."""

    name: Literal["cosine"] = "cosine"
    angular: ClassVar[bool] = True
    below: float = Field(default=0.5, ge=-1, le=1)
    """threshold of the cosine to the own prototype"""


class Cosine(Selector):
    """Samples whose target cosine is below a threshold."""

    Config = CosineConfig

    def __init__(self, config: CosineConfig) -> None:
        self.below = config.below

    def select(self, target: Target, others: Others, psi: Tensor, rivals: Tensor) -> Tensor:
        """See Selector.select."""
        return target.cosine < self.below
