"""The equal error rate (EER), and the EER of the convex hull."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spkver.metrics.curve import ErrorCurve, error_curve
from spkver.metrics.hull import convex_hull


class Crossing(NamedTuple):
    """Where the miss and false-alarm rates are equal.

    rate: the EER, in [0, 1]
    threshold: the score at the point nearest to the crossing
    """

    rate: float
    threshold: float


def eer(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The equal error rate, in [0, 1]. Rates are interpolated linearly between the two points around the crossing.

    scores, target, weights: (trials,). Raises InputError as `error_curve` does.
    """
    return equal_error(error_curve(scores, target, weights)).rate


def eer_convex_hull(scores: ArrayLike, target: ArrayLike) -> float:
    """The EER of the convex hull of the ROC curve (ROCCH-EER), in [0, 1]; at most `eer`.

    It is reached by a random choice between two thresholds, and equals the largest Bayes error over all priors
    (Brümmer & de Villiers, "The BOSARIS Toolkit", 2011). scores, target: (trials,).
    """
    return equal_error_of_hull(error_curve(scores, target))


def equal_error(curve: ErrorCurve) -> Crossing:
    """The point of a curve where the two rates are equal."""

    def excess(point: int) -> Any:
        """A number with the sign of miss - false_alarm; exact, because it is an integer."""
        return curve.misses[point].item() * curve.nontargets - curve.false_alarms[point].item() * curve.targets

    after = bisect_left(range(len(curve.misses)), 0, key=excess)  # not the first point, which accepts all trials
    before = after - 1
    nearest = before if -excess(before) <= excess(after) else after
    rate = _meeting(curve, before, after)
    return Crossing(rate, float(curve.thresholds[nearest]))


def equal_error_of_hull(curve: ErrorCurve) -> float:
    """The rate at which the lower convex hull of (false_alarm, miss) crosses the diagonal."""
    hull = convex_hull(curve)
    excess = curve.misses[hull] * curve.nontargets - curve.false_alarms[hull] * curve.targets
    after = int(np.argmax(excess >= 0))  # not the first point, which accepts all trials
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
