"""The equal error rate, and its convex-hull form."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spkver.metrics.curve import ErrorCurve, error_curve
from spkver.metrics.hull import convex_hull


class Crossing(NamedTuple):
    """Where the miss rate meets the false-alarm rate.

    rate: both rates there, in [0, 1]
    threshold: of the measured point nearest to the crossing (always one of the scores)
    """

    rate: float
    threshold: float


def eer(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The equal error rate, in [0, 1]: where miss and false-alarm rates cross, linear between two points.

    scores, target, weights: (trials,). Raises InputError as `error_curve` does.
    """
    return equal_error(error_curve(scores, target, weights)).rate


def eer_convex_hull(scores: ArrayLike, target: ArrayLike) -> float:
    """The equal error rate of the convex hull of the curve, in [0, 1]; at most `eer`.

    It is what is reached by tossing a coin between two thresholds, and the largest Bayes error over all priors
    (Brümmer & de Villiers, "The BOSARIS Toolkit", 2011). scores, target: (trials,).
    """
    return equal_error_of_hull(error_curve(scores, target))


def equal_error(curve: ErrorCurve) -> Crossing:
    """The crossing of a curve's two rates."""

    def excess(point: int) -> Any:
        """The sign of miss - false_alarm, in integers: exact."""
        return curve.misses[point].item() * curve.nontargets - curve.false_alarms[point].item() * curve.targets

    after = bisect_left(range(len(curve.misses)), 0, key=excess)  # never the first point, which accepts all
    before = after - 1
    nearest = before if -excess(before) <= excess(after) else after
    rate = _meeting(curve, before, after)
    return Crossing(rate, float(curve.thresholds[nearest]))


def equal_error_of_hull(curve: ErrorCurve) -> float:
    """The rate at which the lower convex hull of (false_alarm, miss) meets the diagonal."""
    hull = convex_hull(curve)
    excess = curve.misses[hull] * curve.nontargets - curve.false_alarms[hull] * curve.targets
    after = int(np.argmax(excess >= 0))  # never the first point, which accepts all
    return _meeting(curve, int(hull[after - 1]), int(hull[after]))


def _meeting(curve: ErrorCurve, before: int, after: int) -> float:
    """The rate at which the line between two points of the curve crosses the diagonal."""
    ends = [before, after]
    miss, alarm = curve.misses[ends] / curve.targets, curve.false_alarms[ends] / curve.nontargets
    gap = alarm - miss  # positive, then zero or negative
    if gap[1] == 0:
        return float(miss[1])
    share = gap[0] / (gap[0] - gap[1])
    return float(miss[0] + share * (miss[1] - miss[0]))
