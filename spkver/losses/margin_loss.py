"""Margin losses, composed of a head, a margin, a selector, a weighting and schedules.

For a sample with label y, with ψ from the margin and L = logsumexp over j != y of z_j from the head:

    loss = -log( e^ψ / (e^ψ + Σ_{j != y} e^{z_j}) ) = log(1 + e^{L - ψ})
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from spkver.config import Config, Of, refuse_unused
from spkver.losses import HEADS, MARGINS, SELECTORS, WEIGHTINGS
from spkver.losses.gathering import over_processes
from spkver.losses.heads import Head, HeadConfig, HeadLoss
from spkver.losses.loss import LossConfig, LossOutput, check_batch, nan_where_not_finite, share
from spkver.losses.margins import Margin, MarginConfig
from spkver.losses.reductions.base import Others, Target, full_precision
from spkver.losses.selectors import Selector, SelectorConfig
from spkver.losses.weightings import Weighting, WeightingConfig
from spkver.schedules import SCHEDULES, Run, Schedule, ScheduleConfig

MARGIN_WARM_UP = {"name": "warmup", "start": 0.1, "end": 0.4}
NO_ANNEALING = {"name": "constant", "value": 0.0}


class SchedulesConfig(Config):
    """Schedules of the values of a loss."""

    m: Annotated[ScheduleConfig, Of(SCHEDULES)] = Field(default=MARGIN_WARM_UP, validate_default=True)
    """factor on the margin m of the loss"""
    s: Annotated[ScheduleConfig, Of(SCHEDULES)] = Field(default="constant", validate_default=True)
    """factor on the scale of the head, and so on every logit (before its bias)"""
    annealing: Annotated[ScheduleConfig, Of(SCHEDULES)] = Field(default=NO_ANNEALING, validate_default=True)
    """λ: the own logit is (λ·z_y + ψ) / (1 + λ); 0 is the full margin, a large λ almost none"""
    selection: Annotated[ScheduleConfig, Of(SCHEDULES)] = Field(default="constant", validate_default=True)
    """0: all samples get the margin; 1: only those that the selector selects"""

    @model_validator(mode="after")
    def _in_range(self) -> SchedulesConfig:
        _values_within("m", self.m, 0)
        _values_within("annealing", self.annealing, 0)
        _values_within("selection", self.selection, 0, 1)
        if min(self.s.values) <= 0:
            raise ValueError(f"s must stay above 0, got {min(self.s.values):g}")
        return self


def _values_within(name: str, schedule: ScheduleConfig, least: float, most: float | None = None) -> None:
    for value in schedule.values:
        if value < least or (most is not None and value > most):
            span = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
            raise ValueError(f"{name} must be {span}, got {value:g}")


class MarginLossConfig(LossConfig):
    """A margin loss: a preset, and keys that override it.

    `loss: bd_lmcl`, or `loss: {name: bd_lmcl, m: 0.3, head: {s: 40}, selector: {k: 2}}`. Keys that are not given are
    those of the preset. A component with another name (`selector: all`) replaces the preset's. To start selection after
    30 % of the run: `schedules: {selection: {name: warmup, start: 0.3, end: 0.3}}`.
    """

    name: str
    """the preset, see losses.PRESETS"""
    head: Annotated[HeadConfig, Of(HEADS)]
    margin: Annotated[MarginConfig, Of(MARGINS)]
    selector: Annotated[SelectorConfig, Of(SELECTORS)] = Field(default="all", validate_default=True)
    weighting: Annotated[WeightingConfig, Of(WEIGHTINGS)] = Field(default="equal", validate_default=True)
    """weights of the samples, which depend on their losses"""
    schedules: SchedulesConfig = SchedulesConfig()
    m: float = Field(ge=0)
    """the margin when its schedule is 1: a cosine for lmcl, radians for aam, the factor on the angle for a_softmax and
    l_softmax, the share of m1, m2 and m3 for combined"""
    others: Literal["unmargined", "ignored"] = "unmargined"
    """samples that are not selected: in the loss with m = 0, or with weight 0"""
    normalise_by: Literal["batch", "selected"] = "batch"
    """with `others: ignored`: divide the sum of the losses by N, or by the number of selected samples (at least 1)"""

    @model_validator(mode="after")
    def _makes_sense(self) -> MarginLossConfig:
        for m in [self.m, *(self.m * factor for factor in self.schedules.m.values), *self.selector.margins]:
            self.margin.check(m)
        if self.margin.name != "none" and self.head.biased:
            raise ValueError(f"margin '{self.margin.name}' is not defined with a bias; set head.bias to false")
        if not self.head.angular:
            for kind, part in (("margin", self.margin), ("selector", self.selector)):
                if part.angular:
                    raise ValueError(f"{kind} '{part.name}' needs cosines, and head '{self.head.name}' has none")
        if self.selector.name == "all":
            refuse_unused(self, "with selector all", "others", "schedules.selection")
        if self.margin.name == "none":
            refuse_unused(self, "with margin none", "schedules.m", "schedules.annealing")
            if self.others == "unmargined":
                refuse_unused(self, "with margin none", "schedules.selection")
        if self.others == "unmargined":
            refuse_unused(self, "with others: unmargined", "normalise_by")
        return self

    @property
    def summary(self) -> str:
        """See LossConfig.summary."""
        return f"{self.name} (margin {self.margin.name}, m {self.m:g})"


class Thresholds(NamedTuple):
    """Three thresholds for counting rivals: the logits (N,), or the counts (N,) int64."""

    at_logit: Tensor
    """z_y, for the accuracy"""
    at_psi: Tensor
    """ψ with the current margin, for the accuracy with the margin"""
    at_selector: Tensor | None = None
    """the threshold of the selector, if it has its own; see Selector.threshold"""


class Scheduled(NamedTuple):
    """The scheduled values of a loss at one point of the run."""

    m: float
    """the margin"""
    factor: float
    """factor on the scale of the head"""
    annealing: float
    """λ"""
    selection: float
    """from 0 (all samples get the margin) to 1 (only the selected ones)"""


class MarginLoss(HeadLoss):
    """A margin loss of embeddings of size `dim` over a number of classes.

    run: for schedules in steps or epochs
    """

    Config = MarginLossConfig

    def __init__(self, config: MarginLossConfig, dim: int, classes: int, run: Run | None = None) -> None:
        super().__init__()
        self.config = config
        self.head: Head = HEADS.build(config.head, dim, classes)
        self.margin: Margin = MARGINS.build(config.margin)
        self.selector: Selector = SELECTORS.build(config.selector)
        self.weighting: Weighting = WEIGHTINGS.build(config.weighting)
        self.schedules: dict[str, Schedule] = {
            name: SCHEDULES.build(schedule, run) for name, schedule in config.schedules
        }

    def at(self, progress: float) -> Scheduled:
        """The scheduled values at a progress of the run in [0, 1]."""
        now = {name: schedule.at(progress) for name, schedule in self.schedules.items()}
        return Scheduled(self.config.m * now["m"], now["s"], now["annealing"], now["selection"])

    def moving(self, progress: float) -> dict[str, float]:
        """See Loss.moving."""
        now = self.at(progress)
        logged = {
            "m": ("margin", now.m),
            "s": ("scale", now.factor * (self.config.head.scale or 1.0)),
            "annealing": ("annealing", now.annealing),
            "selection": ("selection", now.selection),
        }
        return dict(value for name, value in logged.items() if self.schedules[name].moves)

    def forward(self, x: Tensor, y: Tensor, progress: float = 1.0) -> LossOutput:
        """See Loss.forward."""
        check_batch(x, y, self.head.classes)
        now = self.at(progress)
        with full_precision(x):
            with torch.no_grad():
                target = self.head.target(x, y, now.factor)
                if self.training:
                    self.observe(target)
                asked = self._asked(target, now)
            others, rivals = self.others(x, y, asked, progress)
            with torch.no_grad():
                selected = self._select(target, others, rivals, asked.at_psi)
                weight = 1 - now.selection * (1 - selected.to(target.logit.dtype))

            # again with gradient, after `others`: see Head.target
            target = self.head.target(x, y, now.factor)
            z = target.logit
            loss = torch.logaddexp(z.new_zeros(()), others.logsumexp - torch.lerp(z, self._psi(target, now), weight))
            loss = nan_where_not_finite(loss, x)
            mean = self._reduce(self.weighting(loss), weight)
            penalty = self.margin.penalty(target)
            if penalty is not None:
                mean, loss = mean + penalty.mean(), loss + penalty
            return LossOutput(
                loss=mean,
                per_sample=loss.detach(),
                accuracy=share(rivals.at_logit == 0),
                margin_accuracy=share(rivals.at_psi == 0),
                selected_share=share(selected),
                **self.head.mean_cosines(target, others.largest),
            )

    @torch.no_grad()
    def selected(self, x: Tensor, y: Tensor, progress: float = 1.0) -> Tensor:
        """What the selector gives to each sample of a batch, (N,): a mask, or weights. Arguments as for `forward`."""
        now = self.at(progress)
        with full_precision(x):
            target = self.head.target(x, y, now.factor)
            asked = self._asked(target, now)
            return self._select(target, *self.others(x, y, asked, progress), psi=asked.at_psi)

    def _asked(self, target: Target, now: Scheduled) -> Thresholds:
        """The thresholds for counting rivals."""
        return Thresholds(target.logit, self._psi(target, now), self.selector.threshold(target, self.margin))

    def _select(self, target: Target, others: Others, rivals: Thresholds, psi: Tensor) -> Tensor:
        seen = rivals.at_psi if rivals.at_selector is None else rivals.at_selector
        return self.selector.select(target, others, psi, rivals=seen)

    def observe(self, target: Target) -> None:
        """Update running statistics in training, without gradient; see Margin.observe."""
        self.margin.observe(target)

    def others(self, x: Tensor, y: Tensor, thresholds: Thresholds, progress: float) -> tuple[Others, Thresholds]:
        """The reduction over the classes other than y, and the counts of logits above the thresholds."""
        asked = [threshold for threshold in thresholds if threshold is not None]
        others = self.head.others(x, y, asked, self.at(progress).factor)
        return others, Thresholds(*others.counts)

    def _psi(self, target: Target, now: Scheduled) -> Tensor:
        """ψ (N,) with the current margin."""
        # lerp is exact at both ends
        return torch.lerp(target.logit, self.margin(target, now.m), 1 / (1 + now.annealing))

    def _reduce(self, loss: Tensor, weight: Tensor) -> Tensor:
        if self.config.others == "unmargined":
            return loss.mean()
        if self.config.normalise_by == "batch":
            return (loss * weight).sum() / len(loss)
        # divided by the mean number per process, because gradients are averaged over processes
        every = over_processes(weight)
        return (loss * weight).sum() / (every.sum().clamp_min(1) * (len(weight) / len(every)))
