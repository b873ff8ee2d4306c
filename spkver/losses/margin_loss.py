"""The loss that training uses: head, margin, selector and schedules put together.

For a sample with label y, its ψ from the margin and L = logsumexp over j != y of z_j from the head:

    loss = -log( e^ψ / (e^ψ + Σ_{j != y} e^{z_j}) ) = log(1 + e^{L - ψ})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from spkver.config import Component, Config, component
from spkver.errors import nearest
from spkver.losses import HEADS, MARGINS, PRESETS, SCHEDULES, SELECTORS
from spkver.losses.gathering import over_processes
from spkver.losses.heads import Head, Others, Target, full_precision
from spkver.losses.loss import Loss, LossOutput, check_batch, nan_where_not_finite, share
from spkver.losses.schedules import Run, Schedule

MARGIN_WARM_UP = {"name": "warmup", "start": 0.1, "end": 0.4}
NO_ANNEALING = {"name": "constant", "value": 0.0}


class SchedulesConfig(Config):
    """How the numbers of a loss move over the run."""

    m: component(SCHEDULES) = Field(default=MARGIN_WARM_UP)  # type: ignore[valid-type]
    """factor on the loss's m"""
    s: component(SCHEDULES) = Field(default="constant")  # type: ignore[valid-type]
    """factor on the head's scale, and so on every logit (before its bias)"""
    annealing: component(SCHEDULES) = Field(default=NO_ANNEALING)  # type: ignore[valid-type]
    """λ: the loss trains on (λ·z_y + ψ) / (1 + λ), so infinitely large is no margin and 0 the whole"""
    selection: component(SCHEDULES) = Field(default="constant")  # type: ignore[valid-type]
    """from 0, where all samples get the margin, to 1, where those that the selector picks do"""

    @model_validator(mode="after")
    def _in_range(self) -> SchedulesConfig:
        _values_within("m", self.m, 0)
        _values_within("annealing", self.annealing, 0)
        _values_within("selection", self.selection, 0, 1)
        if min(self.s.values) <= 0:
            raise ValueError(f"s must stay above 0, got {min(self.s.values):g}")
        return self


def _values_within(name: str, schedule: Any, least: float, most: float | None = None) -> None:
    for value in schedule.values:
        if value < least or (most is not None and value > most):
            span = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
            raise ValueError(f"{name} must be {span}, got {value:g}")


class LossConfig(Component):
    """A loss, by the name of a preset and what differs from it.

    `loss: bd_lmcl`, or with changes `loss: {name: bd_lmcl, m: 0.3, head: {s: 40}, selector: {k: 2}}`. The preset gives
    every key that is not written; a part that is named anew (`selector: all`) replaces the preset's. Selection that
    sets in after 30 % of the run: `schedules: {selection: {name: warmup, start: 0.3, end: 0.3}}`.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    name: str
    """the preset, see losses.PRESETS"""
    head: component(HEADS)  # type: ignore[valid-type]
    margin: component(MARGINS)  # type: ignore[valid-type]
    selector: component(SELECTORS) = Field(default="all")  # type: ignore[valid-type]
    schedules: SchedulesConfig = SchedulesConfig()
    m: float = Field(ge=0)
    """the margin where its schedule is 1: a cosine for lmcl, radians for aam, the factor on the angle for a_softmax and
    l_softmax, the share of m1, m2 and m3 for combined"""
    others: Literal["unmargined", "ignored"] = "unmargined"
    """samples that the selector leaves out: stay in the loss with m = 0, or get weight 0"""
    normalise_by: Literal["batch", "selected"] = "batch"
    """with `others: ignored`, the sum of the losses is divided by N, or by the number selected (at least 1)"""

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, value: Any) -> Any:
        tree = {"name": value} if isinstance(value, str) else value
        if not isinstance(tree, Mapping):
            return tree
        name = str(tree.get("name", "bd_lmcl"))
        if name not in cls.presets:
            raise ValueError(f"unknown loss '{name}'{nearest(name, cls.presets)}")
        return _over({"name": name, **cls.presets[name]}, {key: item for key, item in tree.items() if key != "name"})

    @model_validator(mode="after")
    def _makes_sense(self) -> LossConfig:
        select_margin = getattr(self.selector, "select_margin", None)
        for m in [self.m, *(self.m * factor for factor in self.schedules.m.values), select_margin]:
            if m is not None:
                self.margin.check(m)
        if self.margin.name != "none" and getattr(self.head, "bias", False):
            raise ValueError(f"margin '{self.margin.name}' is not defined with a bias; set head.bias to false")
        if self.normalise_by == "selected" and self.others != "ignored":
            raise ValueError("normalise_by: selected belongs to others: ignored")
        return self


def _over(preset: Any, own: Any) -> Any:
    """A key of the user's over the preset's: a part without a name changes the preset's, with a name replaces it."""
    if not isinstance(own, Mapping) or "name" in own:
        return own
    if isinstance(preset, str):
        preset = {"name": preset}
    if not isinstance(preset, Mapping):
        return own
    return {**preset, **{key: _over(preset.get(key), item) for key, item in own.items()}}


class Moment(NamedTuple):
    """The numbers of a loss at one moment of the run."""

    m: float
    """the margin"""
    factor: float
    """on the head's scale"""
    annealing: float
    """λ"""
    selection: float
    """how far selection goes, from 0 (all samples get the margin) to 1"""


class MarginLoss(Loss):
    """The loss of a batch of embeddings of a given dimension against a number of classes.

    `run` is for schedules whose places are steps or epochs.
    """

    Config = LossConfig

    def __init__(self, config: LossConfig, dim: int, classes: int, run: Run | None = None) -> None:
        super().__init__()
        self.config = config
        self.head: Head = HEADS.build(config.head, dim, classes)
        self.margin = MARGINS.build(config.margin)
        self.selector = SELECTORS.build(config.selector)
        self.schedules: dict[str, Schedule] = {
            name: SCHEDULES.build(getattr(config.schedules, name), run) for name in SchedulesConfig.model_fields
        }

    def at(self, progress: float) -> Moment:
        """The loss's numbers at a progress of the run in [0, 1]."""
        m, factor, annealing, selection = (schedule.at(progress) for schedule in self.schedules.values())
        return Moment(self.config.m * m, factor, annealing, selection)

    def moving(self, progress: float) -> dict[str, float]:
        """See Loss.moving."""
        now = self.at(progress)
        scale = now.factor * getattr(self.config.head, "s", 1.0)
        values = {"margin": now.m, "scale": scale, "annealing": now.annealing, "selection": now.selection}
        return {name: value for (name, value), one in zip(values.items(), self.schedules.values()) if one.moves}

    def forward(self, x: Tensor, y: Tensor, progress: float = 1.0) -> LossOutput:
        """See Loss.forward."""
        check_batch(x, y, self.head.classes)
        now = self.at(progress)
        with full_precision(x):
            with torch.no_grad():
                target, psi = self._target(x, y, now)
                asked = self.selector.threshold(target, self.margin)
                thresholds = [target.logit, psi] + ([] if asked is None else [asked])
            others = self.others(x, y, thresholds, progress)
            with torch.no_grad():
                selected = self.selector.select(target, others, psi, rivals=others.counts[-1])
                weight = 1 - now.selection * (1 - selected.to(psi.dtype))

            # once more, with gradient, and not before `others`: see Head.target
            target, psi = self._target(x, y, now)
            z = target.logit
            loss = torch.logaddexp(z.new_zeros(()), others.logsumexp - torch.lerp(z, psi, weight))
            loss = nan_where_not_finite(loss, x)
            return LossOutput(
                loss=self._reduce(loss, weight),
                per_sample=loss.detach(),
                accuracy=share(others.counts[0] == 0),
                margin_accuracy=share(others.counts[1] == 0),
                selected_share=share(selected),
                **self.head.mean_cosines(target, others.largest),
            )

    def others(self, x: Tensor, y: Tensor, thresholds: Sequence[Tensor], progress: float) -> Others:
        """What the loss makes of the classes other than y, see Head.others."""
        return self.head.others(x, y, thresholds, self.at(progress).factor)

    def _target(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Target, Tensor]:
        """The batch's own classes, and their ψ (N,) with the margin of the moment."""
        target = self.head.target(x, y, now.factor)
        # lerp is exact at both ends: a margin in full is ψ, and no margin z, to the bit
        return target, torch.lerp(target.logit, self.margin(target, now.m), 1 / (1 + now.annealing))

    def _reduce(self, loss: Tensor, weight: Tensor) -> Tensor:
        if self.config.others == "unmargined":
            return loss.mean()
        if self.config.normalise_by == "batch":
            return (loss * weight).sum() / len(loss)
        # by the number that a process selected on average: gradients are averaged over processes
        every = over_processes(weight)
        return (loss * weight).sum() / (every.sum().clamp_min(1) * (len(weight) / len(every)))
