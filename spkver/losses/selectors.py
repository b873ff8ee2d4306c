"""Selectors: which samples of the batch get the margin, or how much of it.

A selector first says at which ψ rivals are to be counted (before the pass over the classes), then makes its mask or
weights from what the pass found. One that ranks samples against each other ranks the global batch, over all processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.config import Component
from spkver.losses.gathering import over_processes
from spkver.losses.reductions.base import Others, Target

Margin = Callable[[Target, float], Tensor]


class SelectorConfig(Component):
    """Base of the selectors' configs."""

    @property
    def margins(self) -> tuple[float, ...]:
        """The margins at which rivals are counted, other than that of the moment."""
        return ()


class Selector(ABC):
    """Base of the selectors. Both methods run without gradient."""

    def threshold(self, target: Target, margin: Margin) -> Tensor | None:
        """Where rivals are counted, (N,); None: at ψ with the margin of the moment, which the loss counts anyhow."""
        return None

    @abstractmethod
    def select(self, target: Target, others: Others, psi: Tensor, rivals: Tensor) -> Tensor:
        """How much of the margin each sample gets: a mask (N,) bool, or weights from 0 to 1.

        psi (N,): ψ of every sample with the margin of the moment; rivals (N,) int64: how many z_j exceed the threshold.
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

    A sample is selected when at least k rivals have z_j > ψ, strictly, with ψ at `select_margin`, or at the margin of
    the moment where that is null.
    """

    name: Literal["boundary"] = "boundary"
    k: int = Field(default=1, ge=1)
    """rivals above ψ that make a boundary sample"""
    select_margin: float | None = Field(default=None, ge=0)
    """margin of the test; null for that of the moment"""

    @property
    def margins(self) -> tuple[float, ...]:
        """See SelectorConfig.margins."""
        return () if self.select_margin is None else (self.select_margin,)


class Boundary(Selector):
    """BD-LMCL's selector: samples whose top-k zero-one loss is 1 once the margin is taken off."""

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
    """A boundary with a soft edge: a sample's weight is sigmoid((largest z_j - ψ) / width), width in units of logits.

    1/2 where `boundary` with k = 1 jumps, and that selector as the width goes to 0.
    """

    name: Literal["soft_boundary"] = "soft_boundary"
    width: float = Field(default=1.0, gt=0)
    """of the edge, in units of logits"""


class SoftBoundary(Selector):
    """The boundary selector without its jump."""

    Config = SoftBoundaryConfig

    def __init__(self, config: SoftBoundaryConfig) -> None:
        self.width = config.width

    def select(self, target: Target, others: Others, psi: Tensor, rivals: Tensor) -> Tensor:
        """See Selector.select."""
        return torch.sigmoid((others.largest - psi) / self.width)


class HardestConfig(SelectorConfig):
    """The samples of greatest loss with the margin on them, L - ψ: a share of the batch, to the nearest whole number.

    At least one; samples as hard as the last of them are selected with it.
    """

    name: Literal["hardest"] = "hardest"
    share: float = Field(default=0.5, gt=0, le=1)
    """of the batch"""


class Hardest(Selector):
    """The hardest share of the batch."""

    Config = HardestConfig

    def __init__(self, config: HardestConfig) -> None:
        self.share = config.share

    def select(self, target: Target, others: Others, psi: Tensor, rivals: Tensor) -> Tensor:
        """See Selector.select. A sample whose loss is not a number is the easiest."""
        hardness = torch.nan_to_num(others.logsumexp - psi, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        batch = over_processes(hardness)
        number = max(1, round(self.share * len(batch)))
        return hardness >= batch.topk(number).values[-1]


class CosineConfig(SelectorConfig):
    """Samples far from their own prototype: those with c_y < below, strictly."""

    name: Literal["cosine"] = "cosine"
    below: float = Field(default=0.5, ge=-1, le=1)
    """cosine to the own prototype under which a sample is selected"""


class Cosine(Selector):
    """Samples whose target cosine is under a threshold."""

    Config = CosineConfig

    def __init__(self, config: CosineConfig) -> None:
        self.below = config.below

    def select(self, target: Target, others: Others, psi: Tensor, rivals: Tensor) -> Tensor:
        """See Selector.select."""
        return target.cosine < self.below
