"""SphereFace2: a binary classification for each class instead of a softmax over all classes.

For a sample with label y, with scale s, similarity g(c) = 2·((c + 1)/2)^t - 1, and a bias b shared by all classes:

    loss = λ·log(1 + e^{-u_y}) + (1 - λ)·Σ_{j != y} log(1 + e^{u_j})

    C    u_y = s·(g(c_y) - m) + b                    u_j = s·(g(c_j) + m) + b
    A    u_y = s·g(cos(min(θ_y + m, π))) + b         u_j = s·g(cos(max(θ_j - m, 0))) + b

This is the form of Han et al., ICASSP 2023, for speakers, in WeSpeaker. In the original of Wen et al., ICLR 2022, the
loss is divided by s, which needs an s times larger learning rate; in their code, form A has no margin in u_j, and the
gradient is that of u = s·c + b.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from spkver.config import Config, Of
from spkver.losses import HEADS
from spkver.losses.heads import Head, HeadConfig, HeadLoss, NormalisedConfig
from spkver.losses.loss import LossConfig, LossOutput, check_batch, nan_where_not_finite, share
from spkver.losses.margin_loss import MARGIN_WARM_UP
from spkver.losses.margins import nearer
from spkver.losses.reductions.base import full_precision
from spkver.losses.reductions.passes import total
from spkver.schedules import SCHEDULES, Run, ScheduleConfig


class SphereFace2Schedules(Config):
    """Schedules of the values of the loss."""

    m: Annotated[ScheduleConfig, Of(SCHEDULES)] = Field(default=MARGIN_WARM_UP, validate_default=True)
    """factor on the margin m of the loss"""

    @model_validator(mode="after")
    def _in_range(self) -> SphereFace2Schedules:
        if min(self.m.values) < 0:
            raise ValueError(f"m must be at least 0, got {min(self.m.values):g}")
        return self


class SphereFace2Config(LossConfig):
    """A binary classification for each speaker, with margins on both sides and a learnt bias b.

    The head must be normalised, with all classes on every process and the reduction `dense` or `chunked`.
    """

    name: Literal["sphereface2"] = "sphereface2"
    head: Annotated[HeadConfig, Of(HEADS)] = Field(default="normalised", validate_default=True)
    form: Literal["C", "A"] = "C"
    """the margin is subtracted from the similarity (C) or added to the angle (A)"""
    m: float = Field(default=0.2, ge=0, le=2)
    """the margin when its schedule is 1: a similarity for C, radians for A (WeSpeaker: 0.15)"""
    t: float = Field(default=3.0, ge=1)
    """exponent of the similarity: larger values reduce more of the cosines; 1 gives the cosine"""
    balance: float = Field(default=0.7, gt=0, lt=1)
    """λ, the weight of the own class; that of the sum over all others is 1 - λ"""
    schedules: SphereFace2Schedules = SphereFace2Schedules()

    @model_validator(mode="after")
    def _head_fits(self) -> SphereFace2Config:
        head = self.head
        if not isinstance(head, NormalisedConfig):
            raise ValueError(f"loss '{self.name}' needs cosines; set head.name to normalised, not '{head.name}'")
        if head.reduction.name not in ("dense", "chunked"):
            raise ValueError(
                f"loss '{self.name}' is not a softmax; set head.reduction to dense or chunked, not "
                f"'{head.reduction.name}'"
            )
        if not head.whole:
            raise ValueError(f"loss '{self.name}' sums all classes on every process; remove head.split and head.sample")
        return self

    @property
    def s(self) -> float:
        """The scale of the head."""
        assert isinstance(self.head, NormalisedConfig)  # see _head_fits
        return self.head.s

    @property
    def summary(self) -> str:
        """See LossConfig.summary."""
        return f"{self.name} (m {self.m:g})"


class SphereFace2(HeadLoss):
    """See the module. run: for schedules in steps or epochs.

    margin_accuracy is the share of samples with no u_j > u_y; selected_share is 1.
    """

    Config = SphereFace2Config

    def __init__(self, config: SphereFace2Config, dim: int, classes: int, run: Run | None = None) -> None:
        super().__init__()
        self.config = config
        self.head: Head = HEADS.build(config.head, dim, classes)
        self.schedule = SCHEDULES.build(config.schedules.m, run)
        self.bias = nn.Parameter(torch.tensor(self._balanced_bias()))

    def margin(self, progress: float) -> float:
        """m at a progress of the run."""
        return self.config.m * self.schedule.at(progress)

    def moving(self, progress: float) -> dict[str, float]:
        """See Loss.moving."""
        return {"margin": self.margin(progress)} if self.schedule.moves else {}

    def forward(self, x: Tensor, y: Tensor, progress: float = 1.0) -> LossOutput:
        """See Loss.forward."""
        check_batch(x, y, self.head.classes)
        config, m = self.config, self.margin(progress)
        other = partial(_other, config, m=m, bias=self.bias)
        with full_precision(x):
            others, largest = total(
                lambda z: _softplus(other(z / config.s)),
                *self.head.operands(x),
                y,
                chunk=config.head.reduction.classes_at_once,
            )
            target = self.head.target(x, y)
            own = _own(config, target.cosine, m, self.bias)
            loss = config.balance * _softplus(-own) + (1 - config.balance) * others
            loss = nan_where_not_finite(loss, x)
            # u_j rises with z_j, so both have their maximum at the same class
            rival = other(largest / config.s)
            return LossOutput(
                loss=loss.mean(),
                per_sample=loss.detach(),
                accuracy=share(largest <= target.logit),
                margin_accuracy=share(rival <= own),
                selected_share=share(torch.ones_like(y)),
                **self.head.mean_cosines(target, largest),
            )

    def _balanced_bias(self) -> float:
        """The bias with gradient 0 if all cosines are 0, as at the start, so that both sides are balanced.

        Solves λ·σ(-u_y) = (1 - λ)(C - 1)·σ(u_j), a quadratic equation in e^{u_j}, as in the authors' code.
        """
        u_y, u_j = (float(u(self.config, torch.zeros(()).double(), self.margin(0.0), 0.0)) for u in (_own, _other))
        ratio = self.config.balance / ((1 - self.config.balance) * (self.head.classes - 1))
        # e^{u_y - u_j}·v² + (1 - ratio)·v = ratio, v = e^{u_j + b}
        half, square = (1 - ratio) / 2, math.exp(u_y - u_j)
        root = math.hypot(half, math.sqrt(square * ratio))
        v = ratio / (half + root) if half > 0 else (root - half) / square
        return math.log(v) - u_j


def _own(config: SphereFace2Config, c: Tensor, m: float, bias: Tensor | float) -> Tensor:
    """u_y from c_y."""
    g = _similarity(c, config.t) - m if config.form == "C" else _similarity(-nearer(-c, m), config.t)
    return config.s * g + bias


def _other(config: SphereFace2Config, c: Tensor, m: float, bias: Tensor | float) -> Tensor:
    """u_j from c_j."""
    g = _similarity(c, config.t) + m if config.form == "C" else _similarity(nearer(c, m), config.t)
    return config.s * g + bias


def _similarity(c: Tensor, t: float) -> Tensor:
    """g(c), from -1 to 1 and rising."""
    return 2 * ((c.clamp(-1, 1) + 1) / 2).pow(t) - 1


def _softplus(u: Tensor) -> Tensor:
    """log(1 + e^u), exact also for large u, unlike functional.softplus."""
    return -functional.logsigmoid(-u)
