"""Comparison of systems on one trial list, with confidence intervals and paired tests.

Intervals over runs show how results vary with the seed of training, for systems with several runs. Intervals over
speakers show how they vary with the speakers of the list; they come from a bootstrap over speakers
(spkver.metrics.bootstrap) with the same draws for all systems, so differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from spkver import metrics
from spkver.scoring.evaluation import DEFAULT_POINTS
from spkver.scoring.metadata import speakers_of
from spkver.trials import Scores

LEVEL = 0.95
FEWEST_SPEAKERS = 3  # of two speakers, every draw with trials of both kinds is the list itself
TOO_FEW = f"No intervals: they need at least {FEWEST_SPEAKERS} speakers"
Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """The difference from the first system, of the means over runs."""

    mean: float
    speakers: Interval
    p_value: float
    """p-value of no difference, from the bootstrap over speakers"""
    p_holm: float
    """the same, corrected for the number of systems that are compared with the first"""


@dataclass(frozen=True)
class Value:
    """A measure of a system, for example an error rate."""

    mean: float
    """mean over runs"""
    runs: tuple[float, ...]
    seeds: Interval | None
    """95 % interval of the mean over runs, by Student's t; None for one run"""
    speakers: Interval | None
    """95 % interval of the mean over speakers, by bootstrap; None if speakers are not known or too few"""
    difference: Difference | None
    """None for the first system, and if speakers are not known or too few"""


@dataclass(frozen=True)
class Comparison:
    """The measures of each system, by name."""

    trials: int
    systems: dict[str, dict[str, Value]]

    @property
    def has_intervals(self) -> bool:
        """Whether there are intervals over speakers."""
        return any(value.speakers is not None for values in self.systems.values() for value in values.values())

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    def rows(self) -> list[list[str]]:
        """A table with a row for each measure of each system; the first row is the head."""
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
            "p (Holm)",
        ]
        several = len(self.systems) > 2
        rows = [
            [name, str(len(value.runs)), measure, *_cells(measure, value, several=several)]
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

    speakers: the speaker of each id, for intervals over speakers; there are none for fewer than FEWEST_SPEAKERS
    more: further measures, by name
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
        if len(np.unique(np.concatenate([enrol, test]))) >= FEWEST_SPEAKERS:
            drawn = metrics.speaker_bootstrap(
                runs, scores.labels, enrol, test, list(measures.values()), replicates=replicates, seed=seed
            )
    rows = np.split(np.arange(len(runs)), np.cumsum([len(own) for own in systems.values()])[:-1])
    values = {
        measure: [
            _value(found[:, column], None if drawn is None else drawn[:, :, column], own, rows[0]) for own in rows
        ]
        for column, measure in enumerate(measures)
    }
    corrected = {measure: _corrected(own) for measure, own in values.items()}
    return Comparison(
        trials=len(scores),
        systems={name: {measure: own[at] for measure, own in corrected.items()} for at, name in enumerate(systems)},
    )


def _equal_error(curve: metrics.ErrorCurve) -> float:
    return metrics.equal_error(curve).rate


def _least_cost(points: Sequence[metrics.OperatingPoint], curve: metrics.ErrorCurve) -> float:
    return fmean(metrics.least_cost(curve, point).cost for point in points)


def _value(found: np.ndarray, drawn: np.ndarray | None, own: np.ndarray, first: np.ndarray) -> Value:
    """A measure of one system.

    found: the measure of all runs (runs,); drawn: of all bootstrap replicates (replicates, runs), or None
    own, first: the runs of this system and of the first system
    """
    values = found[own]
    speakers = difference = None
    if drawn is not None:
        mine, other = drawn[:, own].mean(axis=1), drawn[:, first].mean(axis=1)
        speakers = _interval(mine)
        if own[0] != first[0]:
            gain = mine - other
            mean = float(values.mean() - found[first].mean())
            p_value = metrics.p_value(gain)
            difference = Difference(mean, _interval(gain), p_value, p_holm=p_value)
    return Value(
        float(values.mean()), tuple(map(float, values)), metrics.student_interval(values, LEVEL), speakers, difference
    )


def _corrected(values: Sequence[Value]) -> list[Value]:
    """The values of all systems with corrected p-values."""
    found = list(values)
    compared = [(at, value.difference) for at, value in enumerate(values) if value.difference is not None]
    for (at, gain), p_holm in zip(compared, metrics.holm([gain.p_value for _, gain in compared])):
        found[at] = replace(found[at], difference=replace(gain, p_holm=float(p_holm)))
    return found


def _interval(values: np.ndarray) -> Interval:
    low, high = metrics.interval(values, LEVEL)
    return float(low), float(high)


def _cells(measure: str, value: Value, *, several: bool) -> list[str]:
    scale, digits, unit = (100, 2, " %") if measure == "EER" else (1, 4, "")

    def span(pair: Interval | None) -> str:
        return "" if pair is None else f"{scale * pair[0]:.{digits}f} to {scale * pair[1]:.{digits}f}"

    gain = value.difference
    return [
        f"{scale * value.mean:.{digits}f}{unit}",
        span(value.seeds),
        span(value.speakers),
        "" if gain is None else f"{scale * gain.mean:+.{digits}f} ({span(gain.speakers)})",
        "" if gain is None else f"{gain.p_value:.3f}",
        "" if gain is None or not several else f"{gain.p_holm:.3f}",
    ]
