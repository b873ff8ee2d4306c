"""Margins: functions from a sample's own cosine and scale to ψ, its own logit with the margin.

A margin is called with the Target of the batch and the current m. ψ never rises with the angle θ_y, nor with m (except
for combined margins with m1 < 1). If m is 0, ψ is exactly the logit without margin; for multiplicative margins that is
m = 1. Margins that depend on the norm of the embedding are in adaface and magface.

Beyond the angle at which the cosine would rise again, it is replaced by a function that falls:

    falling(φ) = (-1)^k cos φ - 2k   for φ in [kπ, (k+1)π]
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from spkver.config import Component
from spkver.losses.reductions.base import Target

LARGEST_COSINE = math.sqrt(1 - 1e-6)
"""For margins with an infinite derivative at 0 and π, angles within 1e-3 rad of these get no gradient."""


class MarginConfig(Component):
    """Base class of the configs of margins."""

    for_rivals: ClassVar[bool] = False
    """whether the margin can also raise the logits of other classes, see Margin.raised"""

    @property
    def angular(self) -> bool:
        """Whether the margin needs a cosine; others also take the negative distance of a hyperbolic head."""
        return True

    def check(self, m: float) -> None:
        """Raise ValueError for an m that the margin does not allow."""

    def off_cosine(self, m: float) -> tuple[str, float]:
        """The key that sets it, and the value that is subtracted from the own cosine (0 for angles); see `bounds`."""
        return "m", 0.0


class Margin(nn.Module, ABC):
    """Base class of margins. Running statistics are buffers, changed in-place."""

    Config: ClassVar[type[MarginConfig]]

    @abstractmethod
    def forward(self, target: Target, m: float) -> Tensor:
        """ψ (N,)."""

    def observe(self, target: Target) -> None:
        """Update running statistics: called once per training step, before `forward`, without gradient.

        The target has the samples of this process; gathering.over_processes gives those of all.
        """

    def penalty(self, target: Target) -> Tensor | None:
        """A term (N,) that is added to the losses of the samples, with gradient, or None."""
        return None

    def raised(self, rival: Target, m: float) -> Tensor:
        """The logit (N,) of another class, raised by the margin in the opposite direction."""
        raise NotImplementedError


def refuse_m(config: MarginConfig, takes: str, m: float) -> ValueError:
    """The error for an m that a margin does not allow."""
    return ValueError(f"margin '{config.name}' takes {takes}, got m = {m:g}")


class NoMarginConfig(MarginConfig):
    """ψ = z_y."""

    name: Literal["none"] = "none"

    @property
    def angular(self) -> bool:
        """See MarginConfig.angular."""
        return False

    def check(self, m: float) -> None:
        """See MarginConfig.check."""
        if m != 0:
            raise ValueError(f"margin 'none' takes no m, got m = {m:g}; name another margin, such as lmcl")


class NoMargin(Margin):
    """Softmax and NSL: ψ = z_y for any m."""

    Config = NoMarginConfig

    def __init__(self, config: NoMarginConfig) -> None:
        super().__init__()

    def forward(self, target: Target, m: float) -> Tensor:
        """See Margin.forward."""
        return target.logit


class AdditiveCosineConfig(MarginConfig):
    """ψ = s·(c_y - m): LMCL (Wang et al., CVPR 2018), also called CosFace and AM-softmax; 0 <= m <= 2."""

    name: Literal["lmcl"] = "lmcl"
    for_rivals: ClassVar[bool] = True

    @property
    def angular(self) -> bool:
        """See MarginConfig.angular."""
        return False

    def check(self, m: float) -> None:
        """See MarginConfig.check."""
        if not 0 <= m <= 2:
            raise refuse_m(self, "a difference of cosines from 0 to 2", m)

    def off_cosine(self, m: float) -> tuple[str, float]:
        """See MarginConfig.off_cosine."""
        return "m", m


class AdditiveCosine(Margin):
    """LMCL: ψ = σ·(c_y - m)."""

    Config = AdditiveCosineConfig

    def __init__(self, config: AdditiveCosineConfig) -> None:
        super().__init__()

    def forward(self, target: Target, m: float) -> Tensor:
        """See Margin.forward."""
        return target.logit if m == 0 else target.scale * (target.cosine - m)

    def raised(self, rival: Target, m: float) -> Tensor:
        """See Margin.raised: s·(c_j + m)."""
        return rival.scale * (rival.cosine + m)


class AdditiveAngleConfig(MarginConfig):
    """ψ = s·cos(θ_y + m): AAM (Deng et al., CVPR 2019), also called ArcFace; 0 <= m < π.

    For θ_y > π - m, where the cosine would rise again, `falling` uses s·(-2 - cos(θ_y + m)), which is continuous and
    falls; `peers` uses s·(c_y - m·sin m), which has a jump, as in most toolkits.
    """

    name: Literal["aam"] = "aam"
    for_rivals: ClassVar[bool] = True
    beyond: Literal["falling", "peers"] = "falling"
    """ψ for θ_y + m > π"""

    def check(self, m: float) -> None:
        """See MarginConfig.check."""
        if not 0 <= m < math.pi:
            raise refuse_m(self, "an angle of at least 0 and less than π, in radians", m)


class AdditiveAngle(Margin):
    """AAM: ψ = σ·cos(θ_y + m) up to θ_y = π - m; see AdditiveAngleConfig.beyond."""

    Config = AdditiveAngleConfig

    def __init__(self, config: AdditiveAngleConfig) -> None:
        super().__init__()
        self.beyond = config.beyond

    def forward(self, target: Target, m: float) -> Tensor:
        """See Margin.forward."""
        if m == 0:
            return target.logit
        angle = target.cosine.new_full((), m)
        if self.beyond == "falling":
            return target.scale * moved(target.cosine, angle)
        c = target.cosine.clamp(-LARGEST_COSINE, LARGEST_COSINE)
        return target.scale * torch.where(c < -torch.cos(angle), c - m * torch.sin(angle), turn(c, angle))

    def raised(self, rival: Target, m: float) -> Tensor:
        """See Margin.raised: s·cos(θ_j - m), and s for θ_j < m."""
        return rival.scale * nearer(rival.cosine, m)


class MultiplicativeAngleConfig(MarginConfig):
    """ψ = σ·falling(m·θ_y): L-softmax (Liu et al., ICML 2016) and A-softmax (Liu et al., CVPR 2017); m = 1, 2, ... 5.

    They differ in their heads, and are trained with annealing; see the presets.
    """

    name: Literal["multiplicative"] = "multiplicative"

    def check(self, m: float) -> None:
        """See MarginConfig.check."""
        if m not in (1, 2, 3, 4, 5):
            raise refuse_m(self, "a whole m from 1 to 5 (softened by schedules.annealing, not schedules.m)", m)


class MultiplicativeAngle(Margin):
    """A- and L-softmax: ψ = σ·((-1)^k cos(mθ_y) - 2k) for θ_y in [kπ/m, (k+1)π/m].

    Computed with cos(mθ) = T_m(cos θ), a Chebyshev polynomial, so no cosine is clamped and no gradient is infinite. k
    is the number of angles π/m ... (m-1)π/m below θ_y, found by comparing cosines.
    """

    Config = MultiplicativeAngleConfig

    def __init__(self, config: MultiplicativeAngleConfig) -> None:
        super().__init__()

    def forward(self, target: Target, m: float) -> Tensor:
        """See Margin.forward."""
        c, times = target.cosine, round(m)
        k = sum((c < math.cos(i * math.pi / times) for i in range(1, times)), start=torch.zeros_like(c))
        return target.scale * _fold(_chebyshev(c, times), k)


class CombinedConfig(MarginConfig):
    """ψ = σ·(falling(m1·θ_y + m2) - m3), the combined margin of the ArcFace paper; m scales it from 0 (none) to 1.

    m replaces m1 by 1 + m·(m1 - 1), m2 by m·m2, and m3 by m·m3.
    """

    name: Literal["combined"] = "combined"
    m1: float = Field(default=1.0, gt=0, le=5)
    """factor on the angle"""
    m2: float = Field(default=0.0, ge=0, lt=math.pi)
    """added to the angle, in radians"""
    m3: float = Field(default=0.0, ge=0, le=2)
    """subtracted from the cosine"""

    def check(self, m: float) -> None:
        """See MarginConfig.check."""
        if not 0 <= m <= 1:
            raise refuse_m(self, "a share of m1, m2 and m3 from 0 to 1", m)

    def off_cosine(self, m: float) -> tuple[str, float]:
        """See MarginConfig.off_cosine."""
        return "m3", m * self.m3


class Combined(Margin):
    """The combined margin: ψ = σ·(falling(m1·θ_y + m2) - m3)."""

    Config = CombinedConfig

    def __init__(self, config: CombinedConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, target: Target, m: float) -> Tensor:
        """See Margin.forward."""
        if m == 0:
            return target.logit
        c, margin = target.cosine.clamp(-LARGEST_COSINE, LARGEST_COSINE), self.config
        theta = torch.acos(c)
        angle = m * ((margin.m1 - 1) * theta + margin.m2)
        k = torch.floor((theta + angle).detach() / math.pi)
        return target.scale * (_fold(turn(c, angle), k) - m * margin.m3)


def moved(c: Tensor, angle: Tensor) -> Tensor:
    """cos φ for φ = θ + angle and c = cos θ; 1 for φ < 0 and -2 - cos φ for φ > π, so that it falls everywhere."""
    inside = c.clamp(-LARGEST_COSINE, LARGEST_COSINE)
    turned = turn(inside, angle)
    before, beyond = (angle < 0) & (c > torch.cos(angle)), (angle > 0) & (inside < -torch.cos(angle))
    return torch.where(before, 1, torch.where(beyond, -2 - turned, turned))


def turn(c: Tensor, angle: Tensor) -> Tensor:
    """cos(θ + angle) for c = cos θ, which must be clamped to LARGEST_COSINE; angle in radians."""
    sine = ((1 - c) * (1 + c)).sqrt()
    return c * torch.cos(angle) - sine * torch.sin(angle)


def nearer(c: Tensor, m: float) -> Tensor:
    """cos(max(θ - m, 0)) for c = cos θ: the cosine of a rival after AAM's margin in the other direction."""
    return c if m == 0 else moved(c, c.new_full((), -m))


def _fold(cosine: Tensor, k: Tensor) -> Tensor:
    """(-1)^k cos φ - 2k for φ in [kπ, (k+1)π]: a continuation of the cosine that falls everywhere."""
    return torch.where(k % 2 == 0, cosine, -cosine) - 2 * k


def _chebyshev(c: Tensor, n: int) -> Tensor:
    """T_n(c) = cos(nθ) for c = cos θ, n >= 1: T_n = 2c·T_{n-1} - T_{n-2}."""
    before, now = torch.ones_like(c), c
    for _ in range(n - 1):
        before, now = now, 2 * c * now - before
    return now
