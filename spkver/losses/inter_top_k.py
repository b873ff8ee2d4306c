"""Inter-top-k: a margin loss that also raises the logits of each sample's nearest rivals.

For a sample with label y, let R be the k classes j != y with the largest z_j, and m' the penalty (Zhao et al., ICASSP
2022). The loss is log(1 + e^{L' - ψ}), with ψ as in any margin loss, and L' the log-sum over the other classes with
z'_j instead of z_j for the rivals:

    LMCL    z'_j = s·(c_j + m')
    AAM     z'_j = s·cos(θ_j - m') for θ_j >= m', otherwise s; this never lowers a logit

The pass over the classes does not change. No z'_j is below its z_j, so with M the maximum of L and all z'_j, no term of

    L' = M + log( e^{L - M} + Σ_{j in R} e^{z'_j - M}·(1 - e^{z_j - z'_j}) )

is negative or overflows, and nothing is subtracted from a sum.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field, model_validator
from torch import Tensor

from spkver.errors import InputError
from spkver.losses import MARGINS
from spkver.losses.margin_loss import MarginLoss, MarginLossConfig, Thresholds
from spkver.losses.reductions.base import Others
from spkver.losses.reductions.passes import CHUNK, nearest
from spkver.schedules import Run


class InterTopKConfig(MarginLossConfig):
    """A margin loss, with all its keys, that also raises the logits of the k nearest rivals by a penalty.

    `loss: inter_top_k_aam`, or `loss: {name: inter_top_k_lmcl, m: 0.3, k: 10}`. With sub-centres, as in the paper:
    `head: {centres: 3}`.
    """

    k: int = Field(default=5, ge=1)
    """number of rivals, less than the number of speakers"""
    penalty: float = Field(default=0.06, ge=0, lt=math.pi)
    """m': a cosine for lmcl, radians for aam; the schedule of m also applies to it"""

    @model_validator(mode="after")
    def _can_raise(self) -> InterTopKConfig:
        if not self.margin.for_rivals:
            able = [name for name in MARGINS if MARGINS.get(name).Config.for_rivals]
            raise ValueError(f"margin '{self.margin.name}' has no form for rivals; use {' or '.join(able)}")
        if not self.head.angular:
            raise ValueError(f"loss '{self.name}' needs cosines, and head '{self.head.name}' has none")
        if not self.head.whole:
            raise ValueError(
                f"loss '{self.name}' ranks all classes on every process; remove head.split and head.sample"
            )
        return self


class InterTopK(MarginLoss):
    """See the module. Accuracies, and selectors that count rivals, use the original logits.

    Raises InputError if k is not less than the number of speakers.
    """

    Config = InterTopKConfig
    config: InterTopKConfig

    def __init__(self, config: InterTopKConfig, dim: int, classes: int, run: Run | None = None) -> None:
        super().__init__(config, dim, classes, run)
        if config.k >= classes:
            raise InputError(f"k = {config.k} rivals need more than {config.k} speakers, got {classes}; lower loss.k")

    def penalty(self, progress: float) -> float:
        """m' at a progress of the run."""
        return self.config.penalty * self.schedules["m"].at(progress)

    def moving(self, progress: float) -> dict[str, float]:
        """See Loss.moving."""
        penalty = {"penalty": self.penalty(progress)} if self.schedules["m"].moves else {}
        return super().moving(progress) | penalty

    def others(self, x: Tensor, y: Tensor, thresholds: Thresholds, progress: float) -> tuple[Others, Thresholds]:
        """See MarginLoss.others; L includes the raised logits of the rivals."""
        others, counts = super().others(x, y, thresholds, progress)
        penalty, k = self.penalty(progress), self.config.k
        if penalty == 0:
            return others, counts
        factor = self.at(progress).factor
        chunk = self.config.head.reduction.classes_at_once or CHUNK
        rivals = nearest(*self.head.operands(x, factor), y, k, chunk)
        target = self.head.target(x.repeat_interleave(k, dim=0), rivals.flatten(), factor)
        plain, raised = (z.unflatten(0, (-1, k)) for z in (target.logit, self.margin.raised(target, penalty)))
        return others._replace(logsumexp=_replaced(others.logsumexp, plain, raised)), counts


def _replaced(logsumexp: Tensor, plain: Tensor, raised: Tensor) -> Tensor:
    """L' (N,) from L (N,), with raised (N, k) instead of plain (N, k); see the module."""
    base = torch.maximum(logsumexp, raised.amax(dim=1)).detach()
    more = torch.exp(raised - base[:, None]) * -torch.expm1(plain - raised)
    return base + torch.log(torch.exp(logsumexp - base) + more.sum(dim=1))
