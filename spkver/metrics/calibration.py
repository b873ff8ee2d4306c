"""How good scores are as log-likelihood ratios, and the best that a rising map could make of them.

Cllr is the mean cost of soft decisions over all operating points, in bits (Brümmer & du Preez, "Application-independent
evaluation of speaker detection", Computer Speech & Language 2006): 0 is perfect, 1 what a system without a clue has.
The best rising map is isotonic regression by pool-adjacent-violators, whose pools are the edges of the convex hull of
the curve of misses against false alarms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spkver.metrics.curve import ErrorCurve, error_curve
from spkver.metrics.hull import convex_hull

_BLOCK = 1 << 20  # trials at a time


def cllr(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The cost of scores as natural-log likelihood ratios, in bits; no less than 0, and not bounded above.

    scores, target, weights: (trials,). Raises InputError as `error_curve` does.
    """
    return cllr_of(error_curve(scores, target, weights))


def min_cllr(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The least Cllr over all rising maps of the scores, in [0, 1] bits: what calibration cannot mend.

    scores, target, weights: (trials,). Raises InputError as `error_curve` does.
    """
    return min_cllr_of(error_curve(scores, target, weights))


def cllr_of(curve: ErrorCurve) -> float:
    """`cllr` of the trials of a curve."""
    costs = 0.0
    for start in range(0, len(curve.misses) - 1, _BLOCK):
        points = slice(start, start + _BLOCK + 1)
        scores = curve.thresholds[points][: len(curve.misses[points]) - 1].astype(np.float64)
        # log(1 + exp(-score)) of each target, log(1 + exp(score)) of each non-target
        costs += float(np.diff(curve.misses[points]) @ np.logaddexp(0, -scores)) / curve.targets
        costs -= float(np.diff(curve.false_alarms[points]) @ np.logaddexp(0, scores)) / curve.nontargets
    return costs / (2 * float(np.log(2)))


def min_cllr_of(curve: ErrorCurve) -> float:
    """`min_cllr` of the trials of a curve."""
    hit, passed = _pools(curve, convex_hull(curve))
    with np.errstate(divide="ignore", invalid="ignore"):
        costs = hit * np.log2(1 + passed / hit), passed * np.log2(1 + hit / passed)
    return sum(float(cost[share > 0].sum()) for cost, share in zip(costs, (hit, passed))) / 2


def isotonic_map(curve: ErrorCurve) -> tuple[np.ndarray, np.ndarray]:
    """The best rising map from scores to natural-log likelihood ratios, a step function.

    Returns the lowest score of each step, rising, and the ratio that it gives; the first is minus infinity where the
    lowest scores are all of non-targets, the last infinity where the highest are all of targets.
    """
    hull = convex_hull(curve)
    hit, passed = _pools(curve, hull)
    with np.errstate(divide="ignore"):
        return curve.thresholds[hull[:-1]].astype(np.float64), np.log(hit) - np.log(passed)


def _pools(curve: ErrorCurve, hull: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares of the targets and of the non-targets between each two points of the hull."""
    return np.diff(curve.misses[hull]) / curve.targets, -np.diff(curve.false_alarms[hull]) / curve.nontargets
