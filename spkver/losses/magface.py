"""MagFace (Meng et al., CVPR 2021): a margin that grows with the norm of the embedding, and a penalty on short norms.

With a = ‖x‖ clamped to l_a and u_a, and with gradient through it:

    ψ = s·cos(θ_y + m(a)),   m(a) = l_m + (u_m - l_m)·(a - l_a) / (u_a - l_a)
    loss = loss of ψ + λ_g·g(a),   g(a) = a / u_a² + 1 / a

Utterances that are easy to recognise get longer embeddings than others.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from spkver.losses.margins import Margin, MarginConfig, moved, refuse_m
from spkver.losses.reductions.base import Target


class MagFaceConfig(MarginConfig):
    """ψ = s·cos(θ_y + m·m(‖x‖)) with the share m from 0 to 1, and a penalty on short embeddings.

    The defaults are those of the paper for faces; l_a and u_a should span the norms of the network's embeddings.
    """

    name: Literal["magface"] = "magface"
    l_a: float = Field(default=10.0, gt=0)
    """lower limit of the norm"""
    u_a: float = Field(default=110.0, gt=0)
    """upper limit of the norm"""
    l_m: float = Field(default=0.45, ge=0)
    """the angle added at l_a, in radians"""
    u_m: float = Field(default=0.8, lt=math.pi)
    """the angle added at u_a, in radians"""
    lambda_g: float = Field(default=35.0, ge=0)
    """factor on the penalty"""

    @model_validator(mode="after")
    def _rise(self) -> MagFaceConfig:
        if not (self.l_a < self.u_a and self.l_m <= self.u_m):
            raise ValueError(
                f"l_a must be below u_a and l_m not above u_m, got norms from {self.l_a:g} to {self.u_a:g} and angles "
                f"from {self.l_m:g} to {self.u_m:g}"
            )
        return self

    def check(self, m: float) -> None:
        """See MarginConfig.check."""
        if not 0 <= m <= 1:
            raise refuse_m(self, "a share of its angles from 0 to 1", m)


class MagFace(Margin):
    """See the module."""

    Config = MagFaceConfig

    def __init__(self, config: MagFaceConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, target: Target, m: float) -> Tensor:
        """See Margin.forward."""
        return target.logit if m == 0 else target.scale * moved(target.cosine, m * self.angle(target.norm))

    def angle(self, norm: Tensor) -> Tensor:
        """m(a) of norms (N,)."""
        c = self.config
        return c.l_m + (c.u_m - c.l_m) * (norm.clamp(c.l_a, c.u_a) - c.l_a) / (c.u_a - c.l_a)

    def penalty(self, target: Target) -> Tensor:
        """See Margin.penalty."""
        a = target.norm.clamp(self.config.l_a, self.config.u_a)
        return self.config.lambda_g * (a / self.config.u_a**2 + 1 / a)
