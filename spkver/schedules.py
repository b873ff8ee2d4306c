"""Schedules: a value as a function of the progress of a run, from 0 at its start to 1 at its end.

They scale the margin (a factor on its final value), the learning rate (a factor on its peak) and other values. A
schedule interpolates between points (place, value). A place is a point in the run: its share, or a number of steps or
epochs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from spkver.config import Component, refuse_unused
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
"""ratio of the exponential curve from or to 0, which no constant ratio reaches"""


def ramp(initial: float, final: float, t: float, shape: Shape) -> float:
    """The value at t in [0, 1] between `initial` and `final`.

    linear; cosine: half a period, flat at both ends; step: `initial` until t = 1; exponential: with constant ratio,
    initial·(final/initial)^t, between two positive numbers; from or to 0, the same curve with the ratio DECAY.
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
    """The length of a run, for schedules in steps or epochs; None if unknown."""

    steps: int | None = None
    steps_per_epoch: float | None = None

    def length(self, unit: Unit) -> float:
        """The length of the run in a unit: 1, steps, or epochs. Raises InputError if it is unknown."""
        if unit == "progress":
            return 1.0
        if self.steps is None or self.steps_per_epoch is None:
            raise InputError(f"a schedule with unit {unit} needs the length of the run, which is unknown here")
        return self.steps if unit == "step" else self.steps / self.steps_per_epoch


class ScheduleConfig(Component, ABC):
    """Base of the configs of schedules."""

    unit: Unit = "progress"
    """unit of places: progress (share of the run, 0 to 1), or steps or epochs from its start"""

    @abstractmethod
    def way(self) -> tuple[tuple[Point, ...], tuple[Shape, ...]]:
        """The points (place, value) in order, and the shape of each segment between two points."""

    @property
    def values(self) -> tuple[float, ...]:
        """The values at the points. All values of the schedule are between the lowest and the highest of them."""
        return tuple(value for _, value in self.way()[0])

    @model_validator(mode="after")
    def _places_rise(self) -> ScheduleConfig:
        places = [place for place, _ in self.way()[0]]
        last = 1.0 if self.unit == "progress" else math.inf
        if places != sorted(places) or places[0] < 0 or places[-1] > last:
            bounds = "increase, from 0 to 1" if self.unit == "progress" else "increase, from 0 on"
            raise ValueError(f"places must {bounds} (unit: {self.unit}), got {', '.join(f'{p:g}' for p in places)}")
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
        # round, so that 3 / 7 of 7 steps are exactly 3 steps
        place = progress if self.config.unit == "progress" else round(progress * self._length, 9)
        for (start, initial), (end, final), shape in zip(self._points, self._points[1:], self._shapes):
            if place < end:
                return initial if place <= start else ramp(initial, final, (place - start) / (end - start), shape)
        return self._points[-1][1]

    @property
    def moves(self) -> bool:
        """Whether the value changes over the run."""
        return len(set(self.config.values)) > 1


class ConstantConfig(ScheduleConfig):
    """A constant value."""

    name: Literal["constant"] = "constant"
    value: float = 1.0
    """the value"""

    @model_validator(mode="after")
    def _no_unit(self) -> ConstantConfig:
        refuse_unused(self, "on a constant", "unit")
        return self

    def way(self) -> tuple[tuple[Point, ...], tuple[Shape, ...]]:
        """See ScheduleConfig.way."""
        return ((0.0, self.value),), ()


class Constant(Schedule):
    """A constant value."""

    Config = ConstantConfig


class _RampConfig(ScheduleConfig):
    initial: float
    """value until the place `start`"""
    final: float
    """value from the place `end` on"""
    start: float = 0.0
    """place where the change begins"""
    end: float = 1.0
    """place where the change ends"""

    def way(self) -> tuple[tuple[Point, ...], tuple[Shape, ...]]:
        """See ScheduleConfig.way."""
        return ((self.start, self.initial), (self.end, self.final)), (self._shape(),)

    @abstractmethod
    def _shape(self) -> Shape: ...


class WarmupConfig(_RampConfig):
    """`initial` until the place `start`, then a change to `final` until `end`."""

    name: Literal["warmup"] = "warmup"
    initial: float = 0.0
    """value until the place `start`"""
    final: float = 1.0
    """value from the place `end` on"""
    end: float = 0.1
    """place where the change ends"""
    shape: Shape = "linear"
    """shape of the change: linear, exponential (constant ratio), cosine (half a period), or step (at `end`)"""

    def _shape(self) -> Shape:
        return self.shape


class Warmup(Schedule):
    """A change from one value to another over a part of the run, by default from 0 to 1."""

    Config = WarmupConfig


class LinearConfig(_RampConfig):
    """A linear change from `initial` to `final` between the places `start` and `end`."""

    name: Literal["linear"] = "linear"

    def _shape(self) -> Shape:
        return "linear"


class Linear(Schedule):
    """A linear change from one value to another."""

    Config = LinearConfig


class ExponentialConfig(_RampConfig):
    """A change from `initial` to `final` by a constant ratio per step, between the places `start` and `end`."""

    name: Literal["exponential"] = "exponential"

    def _shape(self) -> Shape:
        return "exponential"


class Exponential(Schedule):
    """A change from one value to another by a constant ratio per step, as for λ in A-softmax."""

    Config = ExponentialConfig


class PiecewiseConfig(ScheduleConfig):
    """Interpolation between points (place, value), constant before the first and after the last.

    `shape` is one shape for all segments between points, or a list with one for each segment. For a learning rate:
    `{points: [[0, 0], [0.1, 1], [1, 1e-3]], shape: [linear, exponential]}`.
    """

    name: Literal["piecewise"] = "piecewise"
    points: tuple[Point, ...] = Field(min_length=1)
    """pairs (place, value), in order of place"""
    shape: Shape | tuple[Shape, ...] = "linear"
    """shape of the segments between points: linear, exponential, cosine, step"""

    def way(self) -> tuple[tuple[Point, ...], tuple[Shape, ...]]:
        """See ScheduleConfig.way."""
        ways = len(self.points) - 1
        return self.points, (self.shape,) * ways if isinstance(self.shape, str) else self.shape

    @model_validator(mode="after")
    def _shapes_fit(self) -> PiecewiseConfig:
        ways = len(self.points) - 1
        if not isinstance(self.shape, str) and len(self.shape) != ways:
            raise ValueError(f"{ways + 1} points have {ways} segments, got {len(self.shape)} shapes")
        return self


class Piecewise(Schedule):
    """Interpolation between given points."""

    Config = PiecewiseConfig
