"""Miss and false-alarm rates at every threshold. All other metrics are computed from them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spkver.errors import InputError


@dataclass(frozen=True)
class ErrorCurve:
    """Numbers of misses and false alarms at every distinct score, from accepting all trials to rejecting all.

    A trial is accepted if its score >= threshold, so trials of equal score are accepted together. Neighbouring points
    differ in their errors: trials of weight 0 are left out. Counts are integers, so rates can be compared exactly;
    with fractional weights they are sums of float64.

    thresholds: (points,) the distinct scores, ascending, float32 or float64, then infinity
    misses: (points,) int64, targets below the threshold, from 0 to `targets`
    false_alarms: (points,) int64, non-targets at or above the threshold, from `nontargets` to 0
    """

    thresholds: np.ndarray
    misses: np.ndarray
    false_alarms: np.ndarray
    targets: float
    nontargets: float

    @property
    def miss(self) -> np.ndarray:
        """The miss rate at each threshold, float64 (points,), ascending from 0 to 1."""
        return self.misses / self.targets

    @property
    def false_alarm(self) -> np.ndarray:
        """The false-alarm rate at each threshold, float64 (points,), descending from 1 to 0."""
        return self.false_alarms / self.nontargets


def error_curve(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> ErrorCurve:
    """Count the errors at every threshold, with one sort.

    scores: (trials,) finite numbers, higher for the same speaker
    target: (trials,) true (or 1) where both sides are the same speaker
    weights: (trials,) weight of each trial, at least 0; by default 1
    Raises InputError for scores that are not finite, and for trials without targets or without non-targets.
    """
    if weights is None:
        return _counted(*_checked(scores, target))
    return SortedTrials(scores, target).curve(_checked_weights(weights))


class Decision(NamedTuple):
    """A threshold, and the miss and false-alarm rates at it, in [0, 1]."""

    miss: float
    false_alarm: float
    threshold: float


class SortedTrials:
    """Trials sorted by score, for error curves with different weights.

    scores, target: as for `error_curve`
    """

    def __init__(self, scores: ArrayLike, target: ArrayLike) -> None:
        values, labels = _checked(scores, target)
        self._order = np.argsort(values)
        values, self._labels = values[self._order], labels[self._order]
        first = _starts(values)
        self._below = np.append(first, len(values))
        self._thresholds = np.append(values[first] + 0, values.dtype.type(np.inf))

    def curve(self, weights: np.ndarray) -> ErrorCurve:
        """The error curve with these weights of the trials (trials,), at least 0.

        Raises InputError if the weights of all targets, or of all non-targets, are 0.
        """
        weights = weights[self._order]
        misses, passed = (self._sums(np.where(kind, weights, 0)) for kind in (self._labels, ~self._labels))
        if not (misses[-1] and passed[-1]):
            kind = "non-target" if misses[-1] else "target"
            raise InputError(f"no {kind} has a weight above 0: error rates need targets and non-targets")
        # leave out scores whose trials all have weight 0
        turns = np.flatnonzero(np.append((misses[1:] != misses[:-1]) | (passed[1:] != passed[:-1]), True))
        misses, passed = misses[turns], passed[turns]
        return ErrorCurve(self._thresholds[turns], misses, passed[-1] - passed, misses[-1].item(), passed[-1].item())

    def _sums(self, counted: np.ndarray) -> np.ndarray:
        """The sum of the values below each threshold, int64 or float64 (points,)."""
        kind = np.float64 if counted.dtype.kind == "f" else np.int64
        return np.concatenate([np.zeros(1, kind), np.cumsum(counted, dtype=kind)])[self._below]


def threshold_at_false_alarm(curve: ErrorCurve, rate: float) -> float:
    """The lowest threshold with a false-alarm rate of at most `rate`; infinity if all trials must be rejected for it.

    Raises InputError for a rate outside [0, 1].
    """
    return float(curve.thresholds[point_at_false_alarm(curve, rate)])


def threshold_at_miss(curve: ErrorCurve, rate: float) -> float:
    """The highest threshold with a miss rate of at most `rate`. At the lowest score of a target, the miss rate is 0.

    Raises InputError for a rate outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise InputError(f"the miss rate must be between 0 and 1, got {rate}")
    return float(curve.thresholds[int(np.searchsorted(curve.miss, rate, side="right")) - 1])


def miss_at_false_alarm(curve: ErrorCurve, rate: float) -> Decision:
    """The error rates at the threshold of `threshold_at_false_alarm`."""
    return errors_at(curve, point_at_false_alarm(curve, rate))


def point_at_false_alarm(curve: ErrorCurve, rate: float) -> int:
    """The index of the first point with a false-alarm rate of at most `rate`, by binary search."""
    if not 0 <= rate <= 1:
        raise InputError(f"the false-alarm rate must be between 0 and 1, got {rate}")
    alarms, nontargets = curve.false_alarms, curve.nontargets
    return bisect_left(range(len(alarms)), -rate, key=lambda point: -float(alarms[point] / nontargets))


def errors_at(curve: ErrorCurve, point: int) -> Decision:
    """The error rates at a point of a curve."""
    miss, false_alarm = curve.misses[point] / curve.targets, curve.false_alarms[point] / curve.nontargets
    return Decision(float(miss), float(false_alarm), float(curve.thresholds[point]))


def corners(curve: ErrorCurve) -> np.ndarray:
    """The indices (ascending) of the points at which the curve changes direction, and of both ends.

    `curve.false_alarm[corners]` and `curve.miss[corners]` draw the whole DET curve; with 1 minus the latter, the ROC.
    """
    still = np.stack([np.diff(curve.misses) == 0, np.diff(curve.false_alarms) == 0])
    # no corner: the same one of the two is constant before and after the point
    straight = (still[:, :-1] & still[:, 1:]).any(axis=0)
    return np.flatnonzero(np.concatenate([[True], ~straight, [True]]))


def _counted(values: np.ndarray, labels: np.ndarray) -> ErrorCurve:
    """The curve without weights, in a third of the time and half of the memory of `SortedTrials`."""
    ordered = np.sort(values)
    first = _starts(ordered)
    thresholds = np.append(ordered[first] + 0, ordered.dtype.type(np.inf))  # + 0 turns -0.0 into 0.0
    del ordered
    passed = np.append(first, len(labels))  # trials below each threshold, then the non-targets among them
    del first
    places = np.searchsorted(thresholds, np.sort(values[labels]))  # sorted, so that lookups stay in the CPU's cache
    misses = np.bincount(places + 1, minlength=len(thresholds))
    np.cumsum(misses, out=misses)
    passed -= misses
    nontargets = int(passed[-1])
    return ErrorCurve(thresholds, misses, np.subtract(nontargets, passed, out=passed), len(places), nontargets)


def _starts(ordered: np.ndarray) -> np.ndarray:
    """The index of the first of each run of equal scores."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _checked_weights(weights: ArrayLike) -> np.ndarray:
    values = np.asarray(weights)
    if values.dtype.kind not in "iuf" or not (np.isfinite(values) & (values >= 0)).all():
        raise InputError("weights must be finite numbers of at least 0")
    return values


def _checked(scores: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values, labels = np.asarray(scores), np.asarray(target)
    if values.ndim != 1 or values.shape != labels.shape:
        raise InputError(f"give one score and one label per trial, got scores {values.shape}, labels {labels.shape}")
    finite = np.isfinite(values)
    if not finite.all():
        at = int(np.argmin(finite))
        raise InputError(f"score {at + 1} of {len(values)} is {values[at]}: scores must be finite")
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if labels.dtype != bool:
        if not np.isin(labels, (0, 1)).all():
            raise InputError("labels must be true/false or 1/0")
        labels = labels.astype(bool)
    if labels.all() or not labels.any():
        kind = "non-target" if labels.any() else "target"
        raise InputError(f"no {kind} among {len(labels)} trials: error rates need targets and non-targets")
    return values, labels
