"""Miss and false-alarm rates at every threshold: what every other metric is read from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spkver.errors import InputError


@dataclass(frozen=True)
class ErrorCurve:
    """Errors at every threshold that makes a difference, from accept-all to reject-all.

    A trial is accepted when its score >= threshold, so trials of equal score move together and the curve depends on
    nothing but the multiset of (score, label). Counts are integers, so that comparisons between rates can be exact.

    thresholds: (points,) the distinct scores in rising order, then infinity
    misses: (points,) int64, targets below the threshold: 0 at first, `targets` at last
    false_alarms: (points,) int64, non-targets at or above it: `nontargets` at first, 0 at last
    """

    thresholds: np.ndarray
    misses: np.ndarray
    false_alarms: np.ndarray
    targets: int
    nontargets: int

    @property
    def miss(self) -> np.ndarray:
        """The miss rate at each threshold, float64 (points,), rising from 0 to 1."""
        return self.misses / self.targets

    @property
    def false_alarm(self) -> np.ndarray:
        """The false-alarm rate at each threshold, float64 (points,), falling from 1 to 0."""
        return self.false_alarms / self.nontargets


def error_curve(scores: ArrayLike, target: ArrayLike) -> ErrorCurve:
    """Count the errors at every threshold, with one sort.

    scores: (trials,) finite numbers, higher for the same speaker
    target: (trials,) true (or 1) where both sides are the same speaker
    Raises InputError for scores that are not finite, and without a target or without a non-target.
    """
    return SortedTrials(scores, target).curve()


class SortedTrials:
    """Trials sorted by their scores, once, for the curves of any number of weights.

    scores, target: as for `error_curve`
    """

    def __init__(self, scores: ArrayLike, target: ArrayLike) -> None:
        values, labels = _checked(scores, target)
        self._order = np.argsort(values)
        values, self._labels = values[self._order], labels[self._order]
        first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))  # of each run of equal scores
        self._below = np.concatenate([first, [len(values)]])
        self._thresholds = np.append(values[first].astype(np.float64), np.inf)

    def curve(self, weights: np.ndarray | None = None) -> ErrorCurve:
        """The curve when each trial counts as often as its weight, int64 (trials,), says; once without weights."""
        if weights is None:
            misses = self._sums(self._labels)
            passed = self._below - misses
        else:
            weights = weights[self._order]
            misses, passed = (self._sums(np.where(kind, weights, 0)) for kind in (self._labels, ~self._labels))
        return ErrorCurve(self._thresholds, misses, passed[-1] - passed, int(misses[-1]), int(passed[-1]))

    def _sums(self, counted: np.ndarray) -> np.ndarray:
        """What is counted below each threshold, int64 (points,)."""
        return np.concatenate([[0], np.cumsum(counted, dtype=np.int64)])[self._below]


def threshold_at_false_alarm(curve: ErrorCurve, rate: float) -> float:
    """The lowest threshold whose false-alarm rate is at most `rate`; infinity when only reject-all is.

    Raises InputError for a rate outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise InputError(f"a false-alarm rate lies between 0 and 1, got {rate}")
    return float(curve.thresholds[np.argmax(curve.false_alarm <= rate)])


def _checked(scores: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values, labels = np.asarray(scores), np.asarray(target)
    if values.ndim != 1 or values.shape != labels.shape:
        raise InputError(f"one score and one label per trial: got scores {values.shape}, labels {labels.shape}")
    finite = np.isfinite(values)
    if not finite.all():
        at = int(np.argmin(finite))
        raise InputError(f"score {at + 1} of {len(values)} is {values[at]}: scores must be finite")
    if labels.dtype != bool:
        if not np.isin(labels, (0, 1)).all():
            raise InputError("labels must be true/false or 1/0")
        labels = labels.astype(bool)
    if labels.all() or not labels.any():
        kind = "non-target" if labels.any() else "target"
        raise InputError(f"no {kind} among {len(labels)} trials: error rates need both kinds")
    return values, labels
