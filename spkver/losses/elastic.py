"""ElasticFace (Boutros et al., CVPR workshops 2022): each sample gets its own margin, drawn in each step.

    m_i = m·(1 + deviation·n_i),   n_i from a standard normal distribution

    arc    ψ = s·cos(θ_y + m_i), falling beyond π as in AAM
    cos    ψ = s·(c_y - m_i)

With `plus` (ElasticFace+), the drawn margins are sorted, so that samples farther from their prototype have larger
ones. The authors' code takes the order of the cosines for their ranks, which is right for some batches only.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.losses.drawn import Drawn
from spkver.losses.gathering import over_processes, own_part
from spkver.losses.margins import AdditiveAngleConfig, AdditiveCosineConfig, Margin, MarginConfig, moved
from spkver.losses.reductions.base import Target


class ElasticConfig(MarginConfig):
    """The margin of AAM or LMCL, drawn for each sample in each training step; m is its mean."""

    name: Literal["elastic"] = "elastic"
    form: Literal["arc", "cos"] = "arc"
    """the margin is added to the angle (arc) or subtracted from the cosine (cos)"""
    deviation: float = Field(default=0.1, ge=0, le=0.5)
    """standard deviation of the margins, as a share of m"""
    plus: bool = False
    """larger margins for samples farther from their prototype"""
    seed: int = Field(default=0, ge=0)
    """seed of the random draws"""

    @property
    def angular(self) -> bool:
        """See MarginConfig.angular."""
        return self.form == "arc"

    def check(self, m: float) -> None:
        """See MarginConfig.check."""
        (AdditiveAngleConfig() if self.form == "arc" else AdditiveCosineConfig()).check(m)

    def off_cosine(self, m: float) -> tuple[str, float]:
        """See MarginConfig.off_cosine."""
        return "m", 0.0 if self.form == "arc" else m


class Elastic(Margin):
    """See the module. In evaluation, every sample has the mean margin."""

    Config = ElasticConfig
    shares: Tensor | None = None
    """(N,) 1 + deviation·n_i of the current batch"""

    def __init__(self, config: ElasticConfig) -> None:
        super().__init__()
        self.config = config
        self.drawn = Drawn(config.seed)

    @torch.no_grad()
    def observe(self, target: Target) -> None:
        """See Margin.observe; draws for the batch of all processes."""
        cosine = over_processes(target.cosine.detach())
        normal = torch.randn(len(cosine), generator=self.drawn.generator()).to(cosine, non_blocking=True)
        if self.config.plus:
            normal = torch.empty_like(normal).scatter_(0, cosine.argsort(descending=True), normal.sort().values)
        self.shares = own_part(1 + self.config.deviation * normal)

    def forward(self, target: Target, m: float) -> Tensor:
        """See Margin.forward."""
        if m == 0:
            return target.logit
        drawn = self.shares if self.training else None
        margin = m * (torch.ones_like(target.cosine) if drawn is None else drawn)
        return target.scale * (moved(target.cosine, margin) if self.config.form == "arc" else target.cosine - margin)
