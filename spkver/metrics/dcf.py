"""The detection cost function and its named operating points."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spkver.errors import InputError, nearest
from spkver.metrics.curve import ErrorCurve, error_curve, errors_at


@dataclass(frozen=True)
class OperatingPoint:
    """The prior probability of a target, in (0, 1), and the costs of a miss and of a false alarm, above 0."""

    p_target: float
    c_miss: float = 1.0
    c_fa: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.p_target < 1 and 0 < self.c_miss < np.inf and 0 < self.c_fa < np.inf):
            raise InputError(f"p_target must be in (0, 1) and costs above 0, got {self}")


# p_target 0.01 or 0.05 of VoxSRC and most VoxCeleb papers; NIST's evaluation plans of 2008, 2010 and 2016
OPERATING_POINTS = {
    "vox-0.01": OperatingPoint(0.01),
    "vox-0.05": OperatingPoint(0.05),
    "sre08": OperatingPoint(0.01, c_miss=10.0),
    "sre10": OperatingPoint(0.001),
    "sre16-0.01": OperatingPoint(0.01),
    "sre16-0.005": OperatingPoint(0.005),
}

# NIST's primary costs: the mean of the normalised costs at these points (plans of 2012, 2016, 2018 and 2019)
PRIMARY_COSTS = {
    "sre12": (OperatingPoint(0.01), OperatingPoint(0.001)),
    "sre16": (OperatingPoint(0.01), OperatingPoint(0.005)),
    "sre18-cts": (OperatingPoint(0.01), OperatingPoint(0.005)),
    "sre19-cts": (OperatingPoint(0.01), OperatingPoint(0.005)),
}
_BLOCK = 1 << 20  # points at a time


class Cost(NamedTuple):
    """A normalised detection cost and its threshold (infinity: reject all trials)."""

    cost: float
    threshold: float


def operating_point(name: str) -> OperatingPoint:
    """The operating point of this name. Raises InputError naming the nearest known name."""
    if name not in OPERATING_POINTS:
        raise InputError(f"unknown operating point '{name}'{nearest(name, [*OPERATING_POINTS, *PRIMARY_COSTS])}")
    return OPERATING_POINTS[name]


def min_dcf(
    scores: ArrayLike, target: ArrayLike, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """The least normalised detection cost over all thresholds, in [0, 1].

    scores, target: (trials,). Raises InputError as `error_curve` does.
    """
    return least_cost(error_curve(scores, target), OperatingPoint(p_target, c_miss, c_fa)).cost


def least_cost(curve: ErrorCurve, point: OperatingPoint) -> Cost:
    """The least normalised cost over all thresholds, including accept-all and reject-all."""
    miss_weight, alarm_weight = rate_costs(point)
    best = Cost(np.inf, np.inf)
    for start in range(0, len(curve.misses), _BLOCK):
        block = slice(start, start + _BLOCK)
        cost = (miss_weight / curve.targets) * curve.misses[block]
        cost += (alarm_weight / curve.nontargets) * curve.false_alarms[block]
        least = int(np.argmin(cost))
        if cost[least] < best.cost:
            best = Cost(float(cost[least]), float(curve.thresholds[start + least]))
    return best


def actual_cost(curve: ErrorCurve, point: OperatingPoint) -> Cost:
    """The normalised cost of scores that are natural-log likelihood ratios at the threshold of Bayes' rule (actDCF).

    The threshold is log(c_fa (1 - p_target) / (c_miss p_target)).
    """
    miss_weight, alarm_weight = rate_costs(point)
    threshold = float(np.log((1 - point.p_target) * point.c_fa / (point.p_target * point.c_miss)))
    # searchsorted would first convert all thresholds to float64
    decision = errors_at(curve, bisect_left(curve.thresholds, threshold, key=float))
    return Cost(miss_weight * decision.miss + alarm_weight * decision.false_alarm, threshold)


def operating_points(name: str) -> tuple[OperatingPoint, ...]:
    """The operating points of a cost, which is the mean over them: one, or those of a primary cost.

    Raises InputError naming the nearest known name.
    """
    return PRIMARY_COSTS[name] if name in PRIMARY_COSTS else (operating_point(name),)


def rate_costs(point: OperatingPoint) -> tuple[float, float]:
    """The normalised costs of a miss rate of 1 and of a false-alarm rate of 1.

    A cost of 1 is that of accepting all trials or of rejecting all, whichever is lower.
    """
    miss, alarm = point.p_target * point.c_miss, (1 - point.p_target) * point.c_fa
    return miss / min(miss, alarm), alarm / min(miss, alarm)
