"""Schedules: a number as a function of the progress of the run, from 0 at its start to 1 at its end.

They serve the margin (a factor on its final value), the learning rate (a factor on its peak) and the like. Every one
is a way through points (place, value); a place is a share of the run, or a number of steps or epochs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from spkver.config import Component
from spkver.errors import InputError
from spkver.registry import Registry

SCHEDULES = Registry(
    "schedule",
    {
        "constant": "spkver.schedules:Constant",
        "warmup": "spkver.schedules:Warmup",
        "linear": "spkver.schedules:Linear",
        "exponential": "spkver.schedules:Exponential",
        "piecewise": "spkver.schedules:Piecewise",
    },
)

Shape = Literal["linear", "exponential", "cosine", "step"]
Unit = Literal["progress", "step", "epoch"]
Point = tuple[float, float]

DECAY = 1e-3
"""An exponential that starts or ends at 0 comes within this share of its way."""


def ramp(initial: float, final: float, t: float, shape: Shape) -> float:
    """The value at t in [0, 1] on the way from initial to final.

    linear; cosine: half a period, flat at both ends; step: initial until t = 1; exponential: the constant-ratio way
    initial·(final/initial)^t between two positive numbers, and from or to 0 the same curve with the ratio DECAY.
    """
    if t <= 0 or initial == final:
        return initial
    if t >= 1:
        return final
    if shape == "linear":
        way = t
    elif shape == "cosine":
        way = (1 - math.cos(math.pi * t)) / 2
    elif shape == "step":
        way = 0.0
    else:
        ratio = final / initial if initial else 0.0
        ratio = ratio if 0 < ratio < math.inf else DECAY
        way = (1 - ratio**t) / (1 - ratio)
    return initial + (final - initial) * way


@dataclass(frozen=True)
class Run:
    """How long a run is, for schedules whose places are steps or epochs. Not known: None."""

    steps: int | None = None
    steps_per_epoch: float | None = None

    def length(self, unit: Unit) -> float:
        """The run in that unit: 1, its steps, or its epochs. Raises InputError if that is not known."""
        if unit == "progress":
            return 1.0
        if self.steps is None or self.steps_per_epoch is None:
            raise InputError(f"a schedule by {unit} needs the length of the run, which is not known here")
        return self.steps if unit == "step" else self.steps / self.steps_per_epoch


class ScheduleConfig(Component, ABC):
    """Base of the schedules' configs: each says through which points it goes."""

    unit: Unit = "progress"
    """of the places: shares of the run, from 0 to 1, or numbers of steps or epochs from its start"""

    @abstractmethod
    def way(self) -> tuple[tuple[Point, ...], tuple[Shape, ...]]:
        """The points (place, value) in order, and the shape of the way from each to the next."""

    @property
    def values(self) -> tuple[float, ...]:
        """The values at the points, between whose least and greatest every value of the schedule lies."""
        return tuple(value for _, value in self.way()[0])

    @model_validator(mode="after")
    def _places_rise(self) -> ScheduleConfig:
        places = [place for place, _ in self.way()[0]]
        last = 1.0 if self.unit == "progress" else math.inf
        if places != sorted(places) or places[0] < 0 or places[-1] > last:
            bounds = "rise from 0 to 1" if self.unit == "progress" else "rise from 0"
            raise ValueError(f"the places must {bounds} (unit: {self.unit}), got {', '.join(f'{p:g}' for p in places)}")
        return self


class Schedule:
    """A schedule over a run of a given length."""

    Config: ClassVar[type[ScheduleConfig]]

    def __init__(self, config: ScheduleConfig, run: Run | None = None) -> None:
        self.config = config
        self._points, self._shapes = config.way()
        self._length = (run or Run()).length(config.unit)

    def at(self, progress: float) -> float:
        """The value at a progress in [0, 1]."""
        # 3 of 7 steps are to be 3 steps, however 3 / 7 is rounded
        place = progress if self.config.unit == "progress" else round(progress * self._length, 9)
        for (start, initial), (end, final), shape in zip(self._points, self._points[1:], self._shapes):
            if place < end:
                return initial if place <= start else ramp(initial, final, (place - start) / (end - start), shape)
        return self._points[-1][1]

    @property
    def moves(self) -> bool:
        """Whether it has more than one value."""
        return len(set(self.config.values)) > 1


class ConstantConfig(ScheduleConfig):
    """The same value all along."""

    name: Literal["constant"] = "constant"
    value: float = 1.0
    """at every place"""

    def way(self) -> tuple[tuple[Point, ...], tuple[Shape, ...]]:
        """See ScheduleConfig.way."""
        return ((0.0, self.value),), ()


class Constant(Schedule):
    """The same value all along."""

    Config = ConstantConfig


class _RampConfig(ScheduleConfig):
    initial: float
    """value until the place `start`"""
    final: float
    """value from the place `end` on"""
    start: float = 0.0
    """place where the value begins to move"""
    end: float = 1.0
    """place where it has arrived"""

    def way(self) -> tuple[tuple[Point, ...], tuple[Shape, ...]]:
        """See ScheduleConfig.way."""
        return ((self.start, self.initial), (self.end, self.final)), (self._shape(),)

    @abstractmethod
    def _shape(self) -> Shape: ...


class WarmupConfig(_RampConfig):
    """`initial` until the place `start`, from there to `final`, reached at `end`."""

    name: Literal["warmup"] = "warmup"
    initial: float = 0.0
    """value until the place `start`"""
    final: float = 1.0
    """value from the place `end` on"""
    end: float = 0.1
    """place where it has arrived"""
    shape: Shape = "linear"
    """of the way: a line, a constant ratio, half a cosine, or a step at `end`"""

    def _shape(self) -> Shape:
        return self.shape


class Warmup(Schedule):
    """From one value to another over a part of the run, from 0 to 1 by default."""

    Config = WarmupConfig


class LinearConfig(_RampConfig):
    """From `initial` to `final` in a straight line, between the places `start` and `end`."""

    name: Literal["linear"] = "linear"

    def _shape(self) -> Shape:
        return "linear"


class Linear(Schedule):
    """From one value to another in a straight line."""

    Config = LinearConfig


class ExponentialConfig(_RampConfig):
    """From `initial` to `final` by a constant ratio a step, between the places `start` and `end`."""

    name: Literal["exponential"] = "exponential"

    def _shape(self) -> Shape:
        return "exponential"


class Exponential(Schedule):
    """From one value to another by a constant ratio a step, as λ falls in A-softmax."""

    Config = ExponentialConfig


class PiecewiseConfig(ScheduleConfig):
    """Through points (place, value) in order, constant before the first and after the last.

    `shape` is one for all the ways between the points, or a list with one for each. For a learning rate:
    `{points: [[0, 0], [0.1, 1], [1, 1e-3]], shape: [linear, exponential]}`.
    """

    name: Literal["piecewise"] = "piecewise"
    points: tuple[Point, ...] = Field(min_length=1)
    """pairs (place, value), places rising"""
    shape: Shape | tuple[Shape, ...] = "linear"
    """of the ways between the points: linear, exponential, cosine, step"""

    def way(self) -> tuple[tuple[Point, ...], tuple[Shape, ...]]:
        """See ScheduleConfig.way."""
        ways = len(self.points) - 1
        return self.points, (self.shape,) * ways if isinstance(self.shape, str) else self.shape

    @model_validator(mode="after")
    def _shapes_fit(self) -> PiecewiseConfig:
        ways = len(self.points) - 1
        if not isinstance(self.shape, str) and len(self.shape) != ways:
            raise ValueError(f"{ways + 1} points have {ways} ways between them, got {len(self.shape)} shapes")
        return self


class Piecewise(Schedule):
    """Through given points."""

    Config = PiecewiseConfig
