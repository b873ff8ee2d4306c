"""All that a report draws of a system's scores, in arrays of bounded size, however many trials there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spkver import metrics
from spkver.metrics import ErrorCurve, OperatingPoint
from spkver.metrics.dcf import rate_costs
from spkver.report.det import TICKS, marks_of, thinned
from spkver.scoring.evaluation import Evaluation, evaluate_curve
from spkver.trials import Scores

LOG_ODDS = np.linspace(-7.5, 7.5, 61)
"""of a target, natural: where Bayes errors are measured"""

FALSE_ALARMS = tuple(
    percent / 100
    for percent in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 60)
)
"""at which miss rates stand in the table, and their intervals in the DET curves"""

_BINS = 80
_BLOCK = 1 << 20  # trials at a time


@dataclass(frozen=True)
class Histogram:
    """The share of the targets and of the non-targets (bins,) between each two edges (bins + 1,).

    The outer two thousandths of all scores are counted in the first and the last.
    """

    edges: np.ndarray
    targets: np.ndarray
    nontargets: np.ndarray


@dataclass(frozen=True)
class BayesErrors:
    """Normalised error rates of decisions at LOG_ODDS: the least at any threshold, and at that of Bayes' rule.

    Brümmer & de Villiers, "The BOSARIS Toolkit", 2011: the normalised Bayes error-rate. `least` at log(p / (1 - p)) is
    minDCF at p_target = p and equal costs.
    """

    least: np.ndarray
    actual: np.ndarray


@dataclass(frozen=True)
class Measured:
    """A system's numbers and what is drawn of it.

    marks: (false alarm, miss) at the equal error rate and the least cost; trade_off: (false alarm, miss) of the curve
    misses: by each of FALSE_ALARMS, the miss rate at the lowest threshold that keeps to it
    steps: the isotonic map, see metrics.isotonic_map
    threshold: from which on trials are accepted where single errors are named
    false_accepts, false_rejects: rows of the trials, the worst first
    """

    evaluation: Evaluation
    marks: dict[str, tuple[float, float]]
    trade_off: tuple[np.ndarray, np.ndarray]
    misses: dict[float, float]
    histogram: Histogram
    bayes: BayesErrors
    steps: tuple[np.ndarray, np.ndarray]
    threshold: float
    false_accepts: np.ndarray
    false_rejects: np.ndarray


def measure(
    scores: Scores,
    points: Sequence[str],
    *,
    far: Sequence[float] = (),
    llr: bool = False,
    threshold: float | None = None,
    worst: int = 25,
) -> Measured:
    """Measure labelled scores; threshold: that of the equal error rate without. Raises as `evaluate` does."""
    curve = metrics.error_curve(scores.values, scores.labels)
    found = evaluate_curve(curve, len(scores), points, far=far, llr=llr)
    threshold = found.eer_threshold if threshold is None else threshold
    single = metrics.operating_points(points[0]) if points else ()
    return Measured(
        evaluation=found,
        marks=marks_of(curve, single[0] if len(single) == 1 else None),
        trade_off=thinned(curve, float(TICKS[0]), float(TICKS[-1]), 500),
        misses={rate: metrics.miss_at_false_alarm(curve, rate).miss for rate in FALSE_ALARMS},
        histogram=histogram(scores),
        bayes=bayes_errors(curve),
        steps=metrics.isotonic_map(curve),
        threshold=threshold,
        false_accepts=_greatest(scores.values, ~scores.labels & (scores.values >= threshold), worst),
        false_rejects=_greatest(-scores.values, scores.labels & (scores.values < threshold), worst),
    )


def histogram(scores: Scores) -> Histogram:
    """How the scores of the two kinds of trials are spread."""
    # of the scores' type, so that scores clipped to the edges are not beyond them
    low, high = (float(scores.values.dtype.type(edge)) for edge in np.quantile(scores.values, [0.001, 0.999]))
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    counts = {}
    for kind in (True, False):
        values = scores.values[scores.labels == kind]
        counts[kind] = np.histogram(np.clip(values, low, high), edges)[0] / len(values)
    return Histogram(edges, counts[True], counts[False])


def bayes_errors(curve: ErrorCurve) -> BayesErrors:
    """The normalised Bayes error-rates of a curve at LOG_ODDS."""
    hull = metrics.convex_hull(curve)  # the least cost is had there
    miss, alarm = curve.misses[hull] / curve.targets, curve.false_alarms[hull] / curve.nontargets
    least, actual = np.empty(len(LOG_ODDS)), np.empty(len(LOG_ODDS))
    for place, odds in enumerate(LOG_ODDS):
        point = OperatingPoint(1 / (1 + float(np.exp(-odds))))
        of_miss, of_alarm = rate_costs(point)
        least[place] = np.min(of_miss * miss + of_alarm * alarm)
        actual[place] = metrics.actual_cost(curve, point).cost
    return BayesErrors(least, actual)


def _greatest(values: np.ndarray, wanted: np.ndarray, most: int) -> np.ndarray:
    """The rows of the greatest wanted values, the greatest first, of equal ones the first in the list."""
    kept = np.empty(0, np.int64)
    for start in range(0, len(values), _BLOCK):
        rows = np.concatenate([kept, start + np.flatnonzero(wanted[start : start + _BLOCK])])
        kept = rows[np.lexsort((rows, -values[rows]))[:most]]
    return kept
