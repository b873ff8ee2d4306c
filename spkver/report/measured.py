"""Measurements of a system's scores for the report. Their size does not depend on the number of trials."""

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
"""natural log odds of a target at which Bayes errors are computed"""

FALSE_ALARMS = tuple(
    percent / 100
    for percent in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 60)
)
"""false-alarm rates of the miss rates in the table and of the intervals in the DET plot"""

_BINS = 80
_BLOCK = 1 << 20  # trials at a time


@dataclass(frozen=True)
class Histogram:
    """The share of the targets and of the non-targets in each bin (bins,), with edges (bins + 1,).

    The lowest and highest 0.1 % of all scores are counted in the first and last bin.
    """

    edges: np.ndarray
    targets: np.ndarray
    nontargets: np.ndarray


@dataclass(frozen=True)
class BayesErrors:
    """Normalised Bayes error-rates at LOG_ODDS (Brümmer & de Villiers, "The BOSARIS Toolkit", 2011).

    least: at the best threshold; at log(p / (1 - p)) it is minDCF with p_target = p and equal costs
    actual: at the threshold of Bayes' rule
    """

    least: np.ndarray
    actual: np.ndarray


@dataclass(frozen=True)
class Measured:
    """The measurements of a system.

    marks: (false alarm, miss) at the EER and the minimum cost; trade_off: (false alarm, miss) of the DET curve
    misses: the miss rate at each of FALSE_ALARMS
    steps: the isotonic map, see metrics.isotonic_map
    threshold: threshold for the list of single errors
    false_accepts, false_rejects: rows of the trials, worst first
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
    """Measure labelled scores; threshold: by default that of the EER. Errors are those of `evaluate`."""
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
    """Histograms of the scores of targets and non-targets."""
    # in the type of the scores, so that clipped scores are not outside the edges
    low, high = (float(scores.values.dtype.type(edge)) for edge in np.quantile(scores.values, [0.001, 0.999]))
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    counts = {}
    for kind in (True, False):
        values = scores.values[scores.labels == kind]
        counts[kind] = np.histogram(np.clip(values, low, high), edges)[0] / len(values)
    return Histogram(edges, counts[True], counts[False])


def bayes_errors(curve: ErrorCurve) -> BayesErrors:
    """The normalised Bayes error-rates of a curve at LOG_ODDS."""
    hull = metrics.convex_hull(curve)  # the minimum cost lies on the hull
    miss, alarm = curve.misses[hull] / curve.targets, curve.false_alarms[hull] / curve.nontargets
    least, actual = np.empty(len(LOG_ODDS)), np.empty(len(LOG_ODDS))
    for place, odds in enumerate(LOG_ODDS):
        point = OperatingPoint(1 / (1 + float(np.exp(-odds))))
        of_miss, of_alarm = rate_costs(point)
        least[place] = np.min(of_miss * miss + of_alarm * alarm)
        actual[place] = metrics.actual_cost(curve, point).cost
    return BayesErrors(least, actual)


def _greatest(values: np.ndarray, wanted: np.ndarray, most: int) -> np.ndarray:
    """The rows of the largest values among the `wanted`, largest first; ties in list order."""
    kept = np.empty(0, np.int64)
    for start in range(0, len(values), _BLOCK):
        rows = np.concatenate([kept, start + np.flatnonzero(wanted[start : start + _BLOCK])])
        kept = rows[np.lexsort((rows, -values[rows]))[:most]]
    return kept
