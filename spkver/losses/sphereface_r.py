"""SphereFace-R (Liu et al., TPAMI 2022): a multiplicative angular margin for a head with a fixed scale.

This is version 1 of the paper, the one that lowers the own logit:

    ψ = s·cos(min(m·θ_y, π))

with the paper's characteristic gradient detachment: the value is ψ, the gradient is that of s·c_y. So the margin
changes how much each sample counts, but not the direction of its gradient, and no annealing is needed.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.losses.margins import Margin, MarginConfig, refuse_m
from spkver.losses.reductions.base import Target


class SphereFaceRConfig(MarginConfig):
    """ψ = s·cos(min(factor·θ_y, π)), with the gradient of s·c_y; m is the share of factor - 1, from 0 to 1."""

    name: Literal["sphereface_r"] = "sphereface_r"
    factor: float = Field(default=1.5, gt=1)
    """the paper's m: factor on the angle when the share is 1"""

    def check(self, m: float) -> None:
        """See MarginConfig.check."""
        if not 0 <= m <= 1:
            raise refuse_m(self, "a share of factor - 1 from 0 to 1", m)


class SphereFaceR(Margin):
    """See the module."""

    Config = SphereFaceRConfig

    def __init__(self, config: SphereFaceRConfig) -> None:
        super().__init__()
        self.factor = config.factor

    def forward(self, target: Target, m: float) -> Tensor:
        """See Margin.forward."""
        if m == 0:
            return target.logit
        c = target.cosine.detach().clamp(-1, 1)
        angle = (1 + m * (self.factor - 1)) * torch.acos(c)
        return target.scale * (target.cosine + (torch.cos(angle.clamp(max=math.pi)) - c))
