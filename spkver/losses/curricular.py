"""CurricularFace (Huang et al., CVPR 2020): the weight of hard rivals grows during training.

The logit of a hard rival, with z_j > ψ, is replaced by the following, with c_j = z_j / s:

    z'_j = z_j·(t + c_j)

t is a running mean of the target cosines, 0 at the start. So hard rivals have little weight at first, and more as the
embeddings approach their own classes.
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
    """A margin loss, with all its keys, that weights the hard rivals of each sample by the progress of training."""

    momentum: float = Field(default=0.99, ge=0, lt=1)
    """share of t that is kept at each batch"""

    @model_validator(mode="after")
    def _head_fits(self) -> CurricularConfig:
        if self.head.scale is None:
            raise ValueError(f"loss '{self.name}' needs cosines; set head.name to normalised, not '{self.head.name}'")
        if not self.head.whole:
            raise ValueError(
                f"loss '{self.name}' needs all classes on every process; remove head.split and head.sample"
            )
        return self


class Curricular(MarginLoss):
    """See the module. Accuracies, and selectors that count rivals, use the original logits."""

    Config = CurricularConfig
    config: CurricularConfig
    t: Tensor

    def __init__(self, config: CurricularConfig, dim: int, classes: int, run: Run | None = None) -> None:
        super().__init__(config, dim, classes, run)
        self.register_buffer("t", torch.zeros(()))

    def observe(self, target: Target) -> None:
        """See MarginLoss.observe; the mean is that of the batch of all processes."""
        super().observe(target)
        self.t.lerp_(over_processes(target.cosine).mean().to(self.t.dtype), 1 - self.config.momentum)

    def others(self, x: Tensor, y: Tensor, thresholds: Thresholds, progress: float) -> tuple[Others, Thresholds]:
        """See MarginLoss.others; L includes the replaced logits of hard rivals."""
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
