"""Detection error trade-off curves (Martin et al., "The DET curve in assessment of detection task performance", 1997).

Both axes are probit scales, on which normally distributed scores give a straight line.
"""

from __future__ import annotations

import numpy as np

from spkver.metrics import ErrorCurve, OperatingPoint, equal_error, least_cost, point_at_false_alarm
from spkver.page import probit

TICKS = np.array([0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80]) / 100


def marks_of(curve: ErrorCurve, point: OperatingPoint | None) -> dict[str, tuple[float, float]]:
    """(false alarm, miss) of the marked points: the EER and, if given, the minimum cost of `point`."""
    rate = equal_error(curve).rate
    marks = {"eer": (rate, rate)}
    if point is not None:
        at = int(np.searchsorted(curve.thresholds, least_cost(curve, point).threshold))
        marks["cost"] = (float(curve.false_alarm[at]), float(curve.miss[at]))
    return marks


def limits(rates: np.ndarray) -> tuple[float, float]:
    """Axis limits (two ticks) around the marked points, with some room; rates of 0.8 and more may lie outside."""
    inside = rates[(rates > 0) & (rates < 0.8)]
    wide = np.concatenate([inside / 3, inside * 1.3, [0.005, 0.4]])
    low = np.searchsorted(TICKS, max(wide.min(), TICKS[0]), side="right") - 1
    high = np.searchsorted(TICKS, min(wide.max(), TICKS[-1]))
    return float(TICKS[low]), float(TICKS[high])


def ticks(low: float, high: float) -> np.ndarray:
    """The ticks of an axis from `low` to `high`."""
    return TICKS[np.searchsorted(TICKS, low) : np.searchsorted(TICKS, high, side="right")]


def thinned(curve: ErrorCurve, low: float, high: float, steps: int = 800) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a curve to the points needed to plot it between two rates on probit scales with this many steps.

    Returns false-alarm and miss rates. Keeps at most four points per step and does not visit the others.
    """
    rates = _between(low, high, steps)
    last = len(curve.misses) - 1
    reached = np.array([point_at_false_alarm(curve, rate) for rate in rates.tolist()])
    missed = np.searchsorted(curve.misses, np.ceil(rates * curve.targets).astype(curve.misses.dtype))
    # also the point before each, so that steps of the curve stay steps
    near = np.concatenate([reached, reached - 1, missed, missed - 1])
    kept = np.unique(np.concatenate([[0, last], np.clip(near, 0, last)]))
    return curve.false_alarms[kept] / curve.nontargets, curve.misses[kept] / curve.targets


def _between(low: float, high: float, steps: int) -> np.ndarray:
    from scipy.special import ndtr

    ends = probit([low, high])
    rates: np.ndarray = ndtr(np.linspace(ends[0], ends[1], steps))
    return rates
