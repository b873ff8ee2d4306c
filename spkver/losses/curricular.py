"""CurricularFace (Huang et al., CVPR 2020): rivals count for more the further the training has come.

A rival that is harder than the own class with its margin, z_j > ψ, has its logit replaced, with c_j = z_j / s:

    z'_j = z_j·(t + c_j)

t is a running mean of the batch's target cosines, from 0 at the start: hard rivals, made less of at first, are made
more of as the embeddings come nearer to their own classes.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from spkver.losses.gathering import over_processes
from spkver.losses.margin_loss import MarginLoss, MarginLossConfig, Thresholds
from spkver.losses.reductions.base import Others, Target
from spkver.losses.reductions.passes import log_total
from spkver.schedules import Run


class CurricularConfig(MarginLossConfig):
    """A margin loss, with every key of one, that weighs each sample's hard rivals by the progress of the training."""

    momentum: float = Field(default=0.99, ge=0, lt=1)
    """share of t that a batch leaves"""

    @model_validator(mode="after")
    def _head_fits(self) -> CurricularConfig:
        if self.head.scale is None:
            raise ValueError(f"loss '{self.name}' is of cosines; set head.name to normalised, not '{self.head.name}'")
        if not self.head.whole:
            raise ValueError(
                f"loss '{self.name}' needs all speakers in one place; leave out head.split and head.sample"
            )
        return self


class Curricular(MarginLoss):
    """See the module. Accuracies, and selectors that count rivals, see the logits as they were."""

    Config = CurricularConfig
    config: CurricularConfig
    t: Tensor

    def __init__(self, config: CurricularConfig, dim: int, classes: int, run: Run | None = None) -> None:
        super().__init__(config, dim, classes, run)
        self.register_buffer("t", torch.zeros(()))

    def observe(self, target: Target) -> None:
        """See MarginLoss.observe: the mean is of the batch of all processes."""
        super().observe(target)
        self.t.lerp_(over_processes(target.cosine).mean().to(self.t.dtype), 1 - self.config.momentum)

    def others(self, x: Tensor, y: Tensor, thresholds: Thresholds, progress: float) -> tuple[Others, Thresholds]:
        """See MarginLoss.others; L is that with the hard rivals' logits replaced."""
        with torch.no_grad():
            others, counts = super().others(x, y, thresholds, progress)
        factor = self.at(progress).factor
        t, scale, psi = self.t.clone(), factor * (self.config.head.scale or 1.0), thresholds.at_psi[:, None]
        logsumexp = log_total(
            lambda z: torch.where(z > psi, z * (t + z / scale), z),
            *self.head.operands(x, factor),
            y,
            chunk=self.config.head.reduction.classes_at_once,
        )
        return others._replace(logsumexp=logsumexp), counts
