"""AdaFace (Kim et al., CVPR 2022): a margin that depends on the norm of the embedding, as a measure of quality.

With μ and σ the running mean and standard deviation of ‖x‖, and without gradient through ẑ,

    ẑ = clip(h·(‖x‖ - μ) / σ, -1, 1)
    ψ = s·(cos(θ_y - m·ẑ) - m·(1 + ẑ))

Short embeddings get the margin of AAM (ẑ = -1) and those of average length that of LMCL (ẑ = 0); for long ones the
gradient grows with the angle. θ_y - m·ẑ is at least 0, and beyond π the cosine falls as in AAM.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.losses.gathering import over_processes
from spkver.losses.margins import Margin, MarginConfig, moved, refuse_m
from spkver.losses.reductions.base import Target


class AdaFaceConfig(MarginConfig):
    """ψ = s·(cos(θ_y - m·ẑ) - m·(1 + ẑ)) with the normalised norm ẑ; 0 <= m < π."""

    name: Literal["adaface"] = "adaface"
    h: float = Field(default=0.333, gt=0)
    """value of ẑ at one standard deviation; with 1/3, two thirds of the norms are in a third of the range"""
    momentum: float = Field(default=0.99, ge=0, lt=1)
    """share of μ and σ that is kept at each batch"""

    def check(self, m: float) -> None:
        """See MarginConfig.check."""
        if not 0 <= m < math.pi:
            raise refuse_m(self, "an m of at least 0 and less than π", m)

    def off_cosine(self, m: float) -> tuple[str, float]:
        """See MarginConfig.off_cosine; the value for an average norm."""
        return "m", m


class AdaFace(Margin):
    """See the module. The first batch sets μ and σ; while σ is 0, ẑ is 0."""

    Config = AdaFaceConfig
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: AdaFaceConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.zeros(()))

    @torch.no_grad()
    def observe(self, target: Target) -> None:
        """See Margin.observe; mean and deviation are those of the batch of all processes."""
        norm = over_processes(target.norm.detach()).to(self.mean.dtype)
        if len(norm) < 2:  # no deviation
            return
        share = torch.where(self.deviation == 0, torch.ones_like(self.mean), 1 - self.config.momentum)
        self.mean.lerp_(norm.mean(), share)
        self.deviation.lerp_(norm.std(), share)

    def forward(self, target: Target, m: float) -> Tensor:
        """See Margin.forward."""
        if m == 0:
            return target.logit
        quality = self.quality(target.norm.detach())
        return target.scale * (moved(target.cosine, -m * quality) - m * (1 + quality))

    def quality(self, norm: Tensor) -> Tensor:
        """ẑ of norms (N,)."""
        relative = self.config.h * (norm - self.mean) / self.deviation
        return torch.where(self.deviation > 0, relative, 0).clamp(-1, 1).to(norm.dtype)
