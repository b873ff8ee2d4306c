"""Systems side by side on one trial list: what each is worth, and how sure that is.

A system may have been trained several times, from several seeds. Two things then move its numbers: the seed, told by
the spread over its runs, and the speakers that happen to be in the list, told by a bootstrap over speakers
(spkver.metrics.bootstrap) that draws the same speakers for all systems, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from spkver import metrics
from spkver.scoring.evaluation import DEFAULT_POINTS
from spkver.scoring.metadata import speakers_of
from spkver.trials import Scores

LEVEL = 0.95
Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """Difference of the mean over runs from that of the first system."""

    mean: float
    speakers: Interval
    chance: float
    """p-value of no difference, over the speakers drawn"""


@dataclass(frozen=True)
class Value:
    """A measure of a system: an error rate or a cost, in [0, 1]."""

    mean: float
    """over runs"""
    runs: tuple[float, ...]
    seeds: Interval | None
    """of the mean, by Student's t over the runs; None for one run"""
    speakers: Interval | None
    """of the mean, by a bootstrap over speakers; None where speakers are not known"""
    difference: Difference | None
    """from the first system; None for itself, and where speakers are not known"""


@dataclass(frozen=True)
class Comparison:
    """The measures of each system, by name."""

    trials: int
    systems: dict[str, dict[str, Value]]

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    def rows(self) -> list[list[str]]:
        """The cells of a table, the first row its head: a row for each measure of each system."""
        first = next(iter(self.systems))
        head = [
            "system",
            "runs",
            "measure",
            "mean",
            "95 % over runs",
            "95 % over speakers",
            f"difference from {first}",
            "p",
        ]
        rows = [
            [name, str(len(value.runs)), measure, *_cells(measure, value)]
            for name, values in self.systems.items()
            for measure, value in values.items()
        ]
        kept = [column for column in range(len(head)) if column < 4 or any(row[column] for row in rows)]
        return [[row[column] for column in kept] for row in [head, *rows]]


def compare(
    systems: Mapping[str, Sequence[Scores]],
    speakers: Mapping[str, str] | None = None,
    *,
    points: Sequence[str] = DEFAULT_POINTS,
    more: Mapping[str, metrics.bootstrap.Measure] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Comparison:
    """EER and minDCF of systems, each of one or more runs, on the same labelled trials in the same order.

    speakers: the speaker of every id of the list, for intervals over speakers
    more: further measures by their names
    Raises InputError for ids without a speaker, and as `evaluate` does.
    """
    (_, (scores, *_)), *_ = systems.items()
    measures: dict[str, metrics.bootstrap.Measure] = {"EER": _equal_error}
    measures.update({f"minDCF {name}": partial(_least_cost, metrics.operating_points(name)) for name in points})
    measures.update(more or {})
    runs = [run.values for own in systems.values() for run in own]
    curves = [metrics.error_curve(values, scores.labels) for values in runs]
    found = np.array([[measure(curve) for measure in measures.values()] for curve in curves])
    drawn = None
    if speakers is not None:
        enrol, test, _ = speakers_of(scores.trials, speakers)
        drawn = metrics.speaker_bootstrap(
            runs, scores.labels, enrol, test, list(measures.values()), replicates=replicates, seed=seed
        )
    rows = np.split(np.arange(len(runs)), np.cumsum([len(own) for own in systems.values()])[:-1])
    return Comparison(
        trials=len(scores),
        systems={
            name: {
                measure: _value(found[:, column], None if drawn is None else drawn[:, :, column], own, rows[0])
                for column, measure in enumerate(measures)
            }
            for name, own in zip(systems, rows)
        },
    )


def _equal_error(curve: metrics.ErrorCurve) -> float:
    return metrics.equal_error(curve).rate


def _least_cost(points: Sequence[metrics.OperatingPoint], curve: metrics.ErrorCurve) -> float:
    return fmean(metrics.least_cost(curve, point).cost for point in points)


def _value(found: np.ndarray, drawn: np.ndarray | None, own: np.ndarray, first: np.ndarray) -> Value:
    """Of a measure of all runs (runs,) and of all draws (replicates, runs): that of one system's runs."""
    values = found[own]
    speakers = difference = None
    if drawn is not None:
        mine, other = drawn[:, own].mean(axis=1), drawn[:, first].mean(axis=1)
        speakers = _interval(mine)
        if own[0] != first[0]:
            gain = mine - other
            mean = float(values.mean() - found[first].mean())
            difference = Difference(mean, _interval(gain), metrics.chance(gain))
    return Value(
        float(values.mean()), tuple(map(float, values)), metrics.student_interval(values, LEVEL), speakers, difference
    )


def _interval(values: np.ndarray) -> Interval:
    low, high = metrics.interval(values, LEVEL)
    return float(low), float(high)


def _cells(measure: str, value: Value) -> list[str]:
    scale, digits, unit = (100, 2, " %") if measure == "EER" else (1, 4, "")

    def span(pair: Interval | None) -> str:
        return "" if pair is None else f"{scale * pair[0]:.{digits}f} to {scale * pair[1]:.{digits}f}"

    gain = value.difference
    return [
        f"{scale * value.mean:.{digits}f}{unit}",
        span(value.seeds),
        span(value.speakers),
        "" if gain is None else f"{scale * gain.mean:+.{digits}f} ({span(gain.speakers)})",
        "" if gain is None else f"{gain.chance:.3f}",
    ]
