"""Miss and false-alarm rates at every threshold: what every other metric is read from."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spkver.errors import InputError


@dataclass(frozen=True)
class ErrorCurve:
    """Errors at every threshold that makes a difference, from accept-all to reject-all.

    No two neighbouring points have the same errors: the scores of trials with a weight of 0 are left out.
    A trial is accepted when its score >= threshold, so trials of equal score move together and the curve depends on
    nothing but the multiset of (score, label). Counts are integers, so that comparisons between rates can be exact;
    only weights that are no integers make them sums of float64.

    thresholds: (points,) the distinct scores in rising order, float32 or float64, then infinity
    misses: (points,) int64, targets below the threshold: 0 at first, `targets` at last
    false_alarms: (points,) int64, non-targets at or above it: `nontargets` at first, 0 at last
    """

    thresholds: np.ndarray
    misses: np.ndarray
    false_alarms: np.ndarray
    targets: float
    nontargets: float

    @property
    def miss(self) -> np.ndarray:
        """The miss rate at each threshold, float64 (points,), rising from 0 to 1."""
        return self.misses / self.targets

    @property
    def false_alarm(self) -> np.ndarray:
        """The false-alarm rate at each threshold, float64 (points,), falling from 1 to 0."""
        return self.false_alarms / self.nontargets


def error_curve(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> ErrorCurve:
    """Count the errors at every threshold, with one sort.

    scores: (trials,) finite numbers, higher for the same speaker
    target: (trials,) true (or 1) where both sides are the same speaker
    weights: (trials,) how often each trial counts, at least 0, integers or not; once without them
    Raises InputError for scores that are not finite, and without a target or without a non-target.
    """
    if weights is None:
        return _counted(*_checked(scores, target))
    return SortedTrials(scores, target).curve(_checked_weights(weights))


class Decision(NamedTuple):
    """A threshold and the miss and false-alarm rates that it gives, in [0, 1]."""

    miss: float
    false_alarm: float
    threshold: float


class SortedTrials:
    """Trials sorted by their scores, once, for the curves of any number of weights.

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
        """The curve when each trial counts as often as its weight (trials,), at least 0, says.

        Raises InputError when no target, or no non-target, has a weight.
        """
        weights = weights[self._order]
        misses, passed = (self._sums(np.where(kind, weights, 0)) for kind in (self._labels, ~self._labels))
        if not (misses[-1] and passed[-1]):
            kind = "non-target" if misses[-1] else "target"
            raise InputError(f"no {kind} has a weight: error rates need both kinds")
        # a score whose trials add nothing is not there
        turns = np.flatnonzero(np.append((misses[1:] != misses[:-1]) | (passed[1:] != passed[:-1]), True))
        misses, passed = misses[turns], passed[turns]
        return ErrorCurve(self._thresholds[turns], misses, passed[-1] - passed, misses[-1].item(), passed[-1].item())

    def _sums(self, counted: np.ndarray) -> np.ndarray:
        """What is counted below each threshold, int64 or float64 (points,)."""
        kind = np.float64 if counted.dtype.kind == "f" else np.int64
        return np.concatenate([np.zeros(1, kind), np.cumsum(counted, dtype=kind)])[self._below]


def threshold_at_false_alarm(curve: ErrorCurve, rate: float) -> float:
    """The lowest threshold whose false-alarm rate is at most `rate`; infinity when only reject-all is.

    Raises InputError for a rate outside [0, 1].
    """
    return float(curve.thresholds[point_at_false_alarm(curve, rate)])


def threshold_at_miss(curve: ErrorCurve, rate: float) -> float:
    """The highest threshold whose miss rate is at most `rate`; the lowest score of a target has a miss rate of 0.

    Raises InputError for a rate outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise InputError(f"a miss rate lies between 0 and 1, got {rate}")
    return float(curve.thresholds[int(np.searchsorted(curve.miss, rate, side="right")) - 1])


def miss_at_false_alarm(curve: ErrorCurve, rate: float) -> Decision:
    """The errors at the lowest threshold whose false-alarm rate is at most `rate`, as `threshold_at_false_alarm`."""
    return errors_at(curve, point_at_false_alarm(curve, rate))


def point_at_false_alarm(curve: ErrorCurve, rate: float) -> int:
    """The first point of a curve whose false-alarm rate is at most `rate`, found without looking at all of them."""
    if not 0 <= rate <= 1:
        raise InputError(f"a false-alarm rate lies between 0 and 1, got {rate}")
    alarms, nontargets = curve.false_alarms, curve.nontargets
    return bisect_left(range(len(alarms)), -rate, key=lambda point: -float(alarms[point] / nontargets))


def errors_at(curve: ErrorCurve, point: int) -> Decision:
    """The errors at one point of a curve."""
    miss, false_alarm = curve.misses[point] / curve.targets, curve.false_alarms[point] / curve.nontargets
    return Decision(float(miss), float(false_alarm), float(curve.thresholds[point]))


def corners(curve: ErrorCurve) -> np.ndarray:
    """The points (rising) that draw the whole curve: those at which it turns, and both ends.

    `curve.false_alarm[corners]` and `curve.miss[corners]` are a DET curve, 1 minus the latter a ROC.
    """
    still = np.stack([np.diff(curve.misses) == 0, np.diff(curve.false_alarms) == 0])
    # straight on: the same one of the two does not move before the point nor after it
    straight = (still[:, :-1] & still[:, 1:]).any(axis=0)
    return np.flatnonzero(np.concatenate([[True], ~straight, [True]]))


def _counted(values: np.ndarray, labels: np.ndarray) -> ErrorCurve:
    """The curve without weights, in a third of the time and half of the memory of `SortedTrials`: no order is kept."""
    ordered = np.sort(values)
    first = _starts(ordered)
    thresholds = np.append(ordered[first] + 0, ordered.dtype.type(np.inf))  # + 0 makes -0.0 the 0.0 that it equals
    del ordered
    passed = np.append(first, len(labels))  # trials below each threshold, then the non-targets among them
    del first
    places = np.searchsorted(thresholds, np.sort(values[labels]))  # sorted keys stay in the cache
    misses = np.bincount(places + 1, minlength=len(thresholds))
    np.cumsum(misses, out=misses)
    passed -= misses
    nontargets = int(passed[-1])
    return ErrorCurve(thresholds, misses, np.subtract(nontargets, passed, out=passed), len(places), nontargets)


def _starts(ordered: np.ndarray) -> np.ndarray:
    """Where each run of equal scores begins."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _checked_weights(weights: ArrayLike) -> np.ndarray:
    values = np.asarray(weights)
    if values.dtype.kind not in "iuf" or not (np.isfinite(values) & (values >= 0)).all():
        raise InputError("weights are finite numbers of at least 0")
    return values


def _checked(scores: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values, labels = np.asarray(scores), np.asarray(target)
    if values.ndim != 1 or values.shape != labels.shape:
        raise InputError(f"one score and one label per trial: got scores {values.shape}, labels {labels.shape}")
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
        raise InputError(f"no {kind} among {len(labels)} trials: error rates need both kinds")
    return values, labels
