"""Cllr and minimum Cllr: the quality of scores as log-likelihood ratios.

Cllr is the detection cost integrated over all operating points, in bits (Brümmer & du Preez, "Application-independent
evaluation of speaker detection", Computer Speech & Language 2006). It is 0 for perfect scores and 1 for scores that are
all 0. Minimum Cllr is the Cllr after the best monotonic map: isotonic regression by pool-adjacent-violators, computed
from the convex hull of misses against false alarms, whose edges are the pools.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spkver.metrics.curve import ErrorCurve, error_curve
from spkver.metrics.hull import convex_hull

_BLOCK = 1 << 20  # trials at a time


def cllr(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Cllr of scores that are natural-log likelihood ratios, in bits: at least 0, without an upper bound.

    scores, target, weights: (trials,). Raises InputError as `error_curve` does.
    """
    return cllr_of(error_curve(scores, target, weights))


def min_cllr(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The least Cllr over all monotonic maps of the scores, in [0, 1] bits: the part that calibration cannot remove.

    scores, target, weights: (trials,). Raises InputError as `error_curve` does.
    """
    return min_cllr_of(error_curve(scores, target, weights))


def cllr_of(curve: ErrorCurve) -> float:
    """Cllr of the trials of a curve, see `cllr`."""
    costs = 0.0
    for start in range(0, len(curve.misses) - 1, _BLOCK):
        points = slice(start, start + _BLOCK + 1)
        scores = curve.thresholds[points][: len(curve.misses[points]) - 1].astype(np.float64)
        # log(1 + exp(-score)) of each target, log(1 + exp(score)) of each non-target
        costs += float(np.diff(curve.misses[points]) @ np.logaddexp(0, -scores)) / curve.targets
        costs -= float(np.diff(curve.false_alarms[points]) @ np.logaddexp(0, scores)) / curve.nontargets
    return costs / (2 * float(np.log(2)))


def min_cllr_of(curve: ErrorCurve) -> float:
    """Minimum Cllr of the trials of a curve, see `min_cllr`."""
    hit, passed = _pools(curve, convex_hull(curve))
    with np.errstate(divide="ignore", invalid="ignore"):
        costs = hit * np.log2(1 + passed / hit), passed * np.log2(1 + hit / passed)
    return sum(float(cost[share > 0].sum()) for cost, share in zip(costs, (hit, passed))) / 2


def isotonic_map(curve: ErrorCurve) -> tuple[np.ndarray, np.ndarray]:
    """The best monotonic map from scores to natural-log likelihood ratios, a step function.

    Returns the lowest score of each step and the ratio of each step, both float64 (steps,), ascending. The first ratio
    is minus infinity if the lowest scores are non-targets only, the last infinity if the highest are targets only.
    """
    hull = convex_hull(curve)
    hit, passed = _pools(curve, hull)
    with np.errstate(divide="ignore"):
        return curve.thresholds[hull[:-1]].astype(np.float64), np.log(hit) - np.log(passed)


def _pools(curve: ErrorCurve, hull: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares of all targets and of all non-targets in each pool, float64 (pools,)."""
    return np.diff(curve.misses[hull]) / curve.targets, -np.diff(curve.false_alarms[hull]) / curve.nontargets
