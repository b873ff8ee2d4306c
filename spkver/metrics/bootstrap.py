"""Confidence intervals of metrics by a bootstrap over speakers.

Trials that share a speaker are not independent, so a bootstrap over trials gives intervals that are too narrow. Here
speakers are drawn with replacement. The weight of a target trial is the number of times its speaker was drawn, that of
a non-target trial the product of these numbers for its two speakers: the pigeonhole bootstrap (Owen, "The pigeonhole
bootstrap", Annals of Applied Statistics 2007), with the same draw for both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from spkver.errors import InputError
from spkver.metrics.curve import ErrorCurve, SortedTrials
from spkver.progress import bar

Measure = Callable[[ErrorCurve], float]


def speaker_bootstrap(
    systems: Sequence[ArrayLike],
    target: ArrayLike,
    enrol: ArrayLike,
    test: ArrayLike,
    measures: Sequence[Measure],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Measures of each system in every bootstrap replicate, float64 (replicates, systems, measures).

    All systems get the same draws of speakers, so differences between systems are paired.

    systems: the scores (trials,) of each system, on the same trials
    target: (trials,) true (or 1) where both sides are the same speaker
    enrol, test: (trials,) the speakers of both sides, of any sortable type
    measures: functions of an error curve, for example `lambda curve: equal_error(curve).rate`
    Raises InputError as `error_curve` does, for fewer than two speakers, and for a target trial of two speakers.
    """
    labels, *sides = (np.asarray(one) for one in (target, enrol, test))
    if not labels.shape == sides[0].shape == sides[1].shape:
        raise InputError(
            f"one label and two speakers per trial: got {labels.shape}, {sides[0].shape}, {sides[1].shape}"
        )
    ordered = [SortedTrials(scores, labels) for scores in systems]
    codes = np.unique(np.concatenate(sides), return_inverse=True)[1].reshape(2, -1)
    number = int(codes.max()) + 1
    labels = labels.astype(bool)
    if number < 2:
        raise InputError("a bootstrap over speakers needs at least two speakers")
    if (wrong := labels & (codes[0] != codes[1])).any():
        raise InputError(f"{wrong.sum()} target trials, the first in row {np.argmax(wrong) + 1}, have two speakers")
    found = np.empty((replicates, len(ordered), len(measures)))
    with bar(total=replicates, what="bootstrap", unit="draw") as progress:
        for row, weights in zip(found, _weights(labels, codes, number, replicates, seed)):
            for cells, system in zip(row, ordered):
                curve = system.curve(weights)
                cells[:] = [measure(curve) for measure in measures]
            progress.update()
    return found


def interval(values: ArrayLike, level: float = 0.95, axis: int = 0) -> np.ndarray:
    """The percentile interval of bootstrapped values at this confidence level: (2, ...)."""
    return np.quantile(np.asarray(values), [(1 - level) / 2, (1 + level) / 2], axis=axis)


def student_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """The confidence interval of the mean of independent runs (runs,), by Student's t; None for a single run."""
    runs = np.asarray(values, np.float64)
    if len(runs) < 2:
        return None
    from scipy.stats import t  # slow to import; not needed for a single run

    half = t.ppf((1 + level) / 2, len(runs) - 1) * runs.std(ddof=1) / len(runs) ** 0.5
    return float(runs.mean() - half), float(runs.mean() + half)


def p_value(differences: ArrayLike) -> float:
    """The two-sided p-value of no difference, from bootstrapped differences: twice the share on the rarer side of 0."""
    values = np.asarray(differences)
    rarer = min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0))
    return min(1.0, 2 * (rarer + 1) / (len(values) + 1))


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values (tests,) corrected for the number of tests (Holm, Scandinavian Journal of Statistics, 1979)."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1)
    return corrected


def _weights(labels: np.ndarray, codes: np.ndarray, number: int, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """The weights of the trials in each replicate, int64 (trials,). Draws of one kind of trial are repeated."""
    random = np.random.default_rng(seed)
    left = replicates
    while left:
        drawn = np.bincount(random.integers(number, size=number), minlength=number)
        weights = drawn[codes[0]] * np.where(labels, 1, drawn[codes[1]])
        targets = int(weights[labels].sum())
        if 0 < targets < int(weights.sum()):
            left -= 1
            yield weights
