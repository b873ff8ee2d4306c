"""Margins: from a sample's own cosine and scale to ψ, the logit that the loss trains on.

A margin is called with the batch's Target and m, a number or a tensor of shape (N,): the schedule moves m, a selector
sets it to 0 for the samples it leaves alone. Where m is 0, ψ is the plain logit, to the bit. ψ never rises with m.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from spkver.config import Component
from spkver.losses.heads import Target

SINE_SQUARED_FLOOR = 1e-6
"""Angles within 1e-3 rad of 0 and of π have their sine taken as 1e-3, without gradient."""


class NoMarginConfig(Component):
    """ψ = z_y."""

    name: Literal["none"] = "none"


class NoMargin:
    """Softmax and NSL: ψ = z_y, whatever m is."""

    Config = NoMarginConfig

    def __init__(self, config: NoMarginConfig) -> None:
        pass

    def __call__(self, target: Target, m: float | Tensor) -> Tensor:
        """ψ (N,)."""
        return target.logit


class AdditiveCosineConfig(Component):
    """ψ = s·(c_y - m): LMCL (Wang et al., CVPR 2018), also called CosFace and AM-softmax."""

    name: Literal["lmcl"] = "lmcl"


class AdditiveCosine:
    """LMCL: ψ = σ·(c_y - m)."""

    Config = AdditiveCosineConfig

    def __init__(self, config: AdditiveCosineConfig) -> None:
        pass

    def __call__(self, target: Target, m: float | Tensor) -> Tensor:
        """ψ (N,)."""
        return target.scale * (target.cosine - m)


class AdditiveAngleConfig(Component):
    """ψ = s·cos(θ_y + m): AAM (Deng et al., CVPR 2019), also called ArcFace.

    For θ_y > π - m, where the cosine would rise again, `falling` goes on with s·(-2 - cos(θ_y + m)), which is
    continuous and falls to the end; `peers` with s·(c_y - m·sin m), which jumps, as most toolkits have it.
    """

    name: Literal["aam"] = "aam"
    beyond: Literal["falling", "peers"] = "falling"


class AdditiveAngle:
    """AAM: ψ = σ·cos(θ_y + m), continued beyond θ_y = π - m; 0 <= m < π."""

    Config = AdditiveAngleConfig

    def __init__(self, config: AdditiveAngleConfig) -> None:
        self.beyond = config.beyond

    def __call__(self, target: Target, m: float | Tensor) -> Tensor:
        """ψ (N,)."""
        c = target.cosine
        m = m if isinstance(m, Tensor) else c.new_full((), m)
        cos_m, sin_m = torch.cos(m), torch.sin(m)
        sine = ((1 - c) * (1 + c)).clamp_min(SINE_SQUARED_FLOOR).sqrt()
        shifted = c * cos_m - sine * sin_m
        continued = c - m * sin_m if self.beyond == "peers" else -2 - shifted
        # m > 0: a cosine rounded to just below -1 has no "beyond" when there is no margin
        return target.scale * torch.where((m > 0) & (c < -cos_m), continued, shifted)
