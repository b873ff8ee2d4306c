"""Schedules: a number as a function of the progress of the run, from 0 at its start to 1 at its end.

They serve the margin (a factor on its final value), the learning rate (a factor on its peak) and the like.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from spkver.config import Component

Shape = Literal["linear", "exponential", "cosine", "step"]

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
        ratio = final / initial if initial * final > 0 else DECAY
        way = (1 - ratio**t) / (1 - ratio)
    return initial + (final - initial) * way


class ConstantConfig(Component):
    """The same value all along."""

    name: Literal["constant"] = "constant"
    value: float = 1.0


class Constant:
    """The same value all along."""

    Config = ConstantConfig

    def __init__(self, config: ConstantConfig) -> None:
        self.config = config

    def at(self, progress: float) -> float:
        """The value at a progress in [0, 1]."""
        return self.config.value


class WarmupConfig(Component):
    """`initial` until the share `start` of the run, from there to `final`, reached at the share `end`."""

    name: Literal["warmup"] = "warmup"
    initial: float = 0.0
    final: float = 1.0
    start: float = Field(default=0.0, ge=0, le=1)
    end: float = Field(default=0.1, ge=0, le=1)
    shape: Shape = "linear"

    @model_validator(mode="after")
    def _in_order(self) -> WarmupConfig:
        if self.end < self.start:
            raise ValueError(f"end {self.end:g} comes before start {self.start:g}")
        return self


class Warmup:
    """From one value to another over a part of the run."""

    Config = WarmupConfig

    def __init__(self, config: WarmupConfig) -> None:
        self.config = config

    def at(self, progress: float) -> float:
        """The value at a progress in [0, 1]."""
        c = self.config
        return _between((c.start, c.initial), (c.end, c.final), progress, c.shape)


class PiecewiseConfig(Component):
    """Through points (progress, value) in order, constant before the first and after the last.

    `shape` is one for all the ways between the points, or a list with one for each. For a learning rate:
    `{points: [[0, 0], [0.1, 1], [1, 1e-3]], shape: [linear, exponential]}`.
    """

    name: Literal["piecewise"] = "piecewise"
    points: tuple[tuple[float, float], ...] = Field(min_length=1)
    shape: Shape | tuple[Shape, ...] = "linear"

    @model_validator(mode="after")
    def _in_order(self) -> PiecewiseConfig:
        places = [progress for progress, _ in self.points]
        if places != sorted(places) or places[0] < 0 or places[-1] > 1:
            raise ValueError(f"the points' progress must rise from 0 to 1, got {', '.join(f'{p:g}' for p in places)}")
        if not isinstance(self.shape, str) and len(self.shape) != len(places) - 1:
            raise ValueError(
                f"{len(places)} points have {len(places) - 1} ways between them, got {len(self.shape)} shapes"
            )
        return self


class Piecewise:
    """Through given points."""

    Config = PiecewiseConfig

    def __init__(self, config: PiecewiseConfig) -> None:
        self.points = config.points
        ways = len(config.points) - 1
        self.shapes = (config.shape,) * ways if isinstance(config.shape, str) else config.shape

    def at(self, progress: float) -> float:
        """The value at a progress in [0, 1]."""
        for left, right, shape in zip(self.points, self.points[1:], self.shapes):
            if progress < right[0]:
                return _between(left, right, progress, shape)
        return self.points[-1][1]


def _between(left: tuple[float, float], right: tuple[float, float], progress: float, shape: Shape) -> float:
    (start, initial), (end, final) = left, right
    if progress >= end:
        return final
    return ramp(initial, final, (progress - start) / (end - start), shape)
