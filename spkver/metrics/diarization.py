"""Errors of diarization: DER (NIST, "The 2009 RT-09 evaluation plan") and JER (DIHARD II evaluation plan).

DER is the time of missed speech, false alarms and speaker confusion over the time of speech in the reference. Time
counts once for every speaker. Speakers of the hypothesis are mapped to those of the reference, one to one, so that they
agree as long as possible. JER is the mean over the speakers of the reference of 1 minus the Jaccard index with their
mapped speaker, 1 for speakers without one. Overlapping turns of one speaker count as one turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

Span = tuple[float, float]  # start and end in seconds


class Spoken(Protocol):
    """A turn of a recording: anything with these attributes, the times in seconds."""

    @property
    def start(self) -> float:
        """Its start."""

    @property
    def end(self) -> float:
        """Its end."""

    @property
    def speaker(self) -> str:
        """Its speaker."""


class Errors(NamedTuple):
    """Errors of a recording or the sum over several, in seconds of speakers' time.

    speech: of the reference
    jaccard: sum of the Jaccard errors of the speakers of the reference
    speakers, found: number of speakers of reference and hypothesis
    """

    speech: float = 0.0
    miss: float = 0.0
    false_alarm: float = 0.0
    confusion: float = 0.0
    jaccard: float = 0.0
    speakers: int = 0
    found: int = 0

    @property
    def der(self) -> float:
        """The diarization error rate. Without speech in the reference, 1 if there are errors and otherwise 0."""
        return _rate(self.miss + self.false_alarm + self.confusion, self.speech)

    @property
    def jer(self) -> float:
        """The Jaccard error rate. Without speech in the reference, 1 if there is speech in the hypothesis, else 0."""
        return _rate(self.jaccard if self.speakers else self.found, self.speakers)

    def rate(self, kind: str) -> float:
        """The part of the DER that is `miss`, `false_alarm` or `confusion`."""
        return _rate(getattr(self, kind), self.speech)


KINDS = ("miss", "false_alarm", "confusion")


@dataclass(frozen=True)
class Comparison:
    """Reference and hypothesis of a recording in intervals in which nobody starts or stops to speak.

    edges: (intervals + 1,) seconds, rising
    scored: bool (intervals,)
    reference, hypothesis: bool (intervals, speakers), who speaks
    names: of the speakers of both, in the order of the columns
    """

    edges: np.ndarray
    scored: np.ndarray
    reference: np.ndarray
    hypothesis: np.ndarray
    names: tuple[Sequence[str], Sequence[str]]

    @cached_property
    def seconds(self) -> np.ndarray:
        """Scored time of every interval."""
        lengths: np.ndarray = np.diff(self.edges) * self.scored
        return lengths

    @cached_property
    def pairs(self) -> np.ndarray:
        """Columns (pairs, 2) of speakers of the reference and of the hypothesis that are mapped to each other."""
        together = self._together
        found = np.stack(linear_sum_assignment(together, maximize=True), axis=1)
        mapped: np.ndarray = found[together[found[:, 0], found[:, 1]] > 0]
        return mapped

    @property
    def mapping(self) -> dict[str, str]:
        """The speaker of the reference for each speaker of the hypothesis that has one."""
        own, other = self.names
        return {other[column]: own[row] for row, column in self.pairs.tolist()}

    @property
    def counts(self) -> np.ndarray:
        """Number of speakers (3, intervals) that are missed, false alarms, and confused."""
        own, other = self.reference.sum(axis=1), self.hypothesis.sum(axis=1)
        right = (self.reference[:, self.pairs[:, 0]] & self.hypothesis[:, self.pairs[:, 1]]).sum(axis=1)
        return np.stack([(own - other).clip(min=0), (other - own).clip(min=0), np.minimum(own, other) - right])

    def errors(self) -> Errors:
        """The errors in the scored time."""
        own, other = (self.seconds @ side for side in (self.reference, self.hypothesis))
        shared = self._together[self.pairs[:, 0], self.pairs[:, 1]]
        index = shared / (own[self.pairs[:, 0]] + other[self.pairs[:, 1]] - shared)
        speakers = int(np.count_nonzero(own))
        miss, false_alarm, confusion = (self.counts @ self.seconds).tolist()
        jaccard = speakers - float(index.sum())
        return Errors(float(own.sum()), miss, false_alarm, confusion, jaccard, speakers, int(np.count_nonzero(other)))

    def spans(self, kind: str) -> list[Span]:
        """Where, in seconds, there are errors of a kind in the scored time."""
        wrong = (self.counts[KINDS.index(kind)] > 0) & self.scored
        starts, ends = np.flatnonzero(np.diff(np.concatenate([[0], wrong, [0]]))).reshape(-1, 2).T
        return list(zip(self.edges[starts].tolist(), self.edges[ends].tolist()))

    @cached_property
    def _together(self) -> np.ndarray:
        """Seconds (speakers of the reference, of the hypothesis) in which both speak."""
        together: np.ndarray = (self.reference * self.seconds[:, None]).T @ self.hypothesis
        return together


def compare_turns(
    reference: Sequence[Spoken],
    hypothesis: Sequence[Spoken],
    regions: Sequence[Span] | None = None,
    *,
    collar: float = 0.0,
    skip_overlap: bool = False,
) -> Comparison:
    """Compare the turns of a recording.

    regions: score only these parts of the recording (UEM); None: all of it
    collar: seconds before and after each start and end of speech of a speaker in the reference that are not scored, as
        in NIST's md-eval and dscore. (The collar of pyannote.metrics is the sum of both sides.)
    skip_overlap: do not score where several speakers of the reference speak
    """
    own, other = merged(reference), merged(hypothesis)
    changes, theirs = (
        np.array([span for spans in side.values() for span in spans]).reshape(-1) for side in (own, other)
    )
    collars = np.stack([changes - collar, changes + collar], axis=1) if collar else np.empty((0, 2))
    within = np.array([(-np.inf, np.inf)] if regions is None else regions).reshape(-1, 2)
    edges = np.unique(np.concatenate([changes, theirs, collars.reshape(-1), within[np.isfinite(within)]]))
    speaking = [
        np.stack([_covered(edges, spans) for spans in side.values()], axis=1) if side else _nobody(edges)
        for side in (own, other)
    ]
    scored = _covered(edges, within) & ~_covered(edges, collars)
    if skip_overlap:
        scored &= speaking[0].sum(axis=1) < 2
    return Comparison(edges, scored, speaking[0], speaking[1], (list(own), list(other)))


def merged(turns: Sequence[Spoken]) -> dict[str, list[Span]]:
    """Where each speaker speaks, in seconds: overlapping and touching turns as one, in order."""
    found: dict[str, list[Span]] = {}
    for turn in sorted(turns, key=lambda turn: (turn.speaker, turn.start)):
        if turn.end <= turn.start:
            continue
        own = found.setdefault(turn.speaker, [])
        if own and turn.start <= own[-1][1]:
            own[-1] = (own[-1][0], max(own[-1][1], turn.end))
        else:
            own.append((turn.start, turn.end))
    return found


def summed(errors: Sequence[Errors]) -> Errors:
    """The errors of several recordings together."""
    return Errors(*(sum(column) for column in zip(*errors))) if errors else Errors()


def recording_bootstrap(errors: Sequence[Errors], *, replicates: int = 1000, seed: int = 0) -> np.ndarray:
    """DER and JER (replicates, 2) of as many recordings drawn with replacement."""
    random = np.random.default_rng(seed)
    values = np.array(errors)
    drawn = values[random.integers(len(values), size=(replicates, len(values)))].sum(axis=1)
    return np.array([[one.der, one.jer] for one in (Errors(*row) for row in drawn.tolist())])


def _covered(edges: np.ndarray, spans: ArrayLike) -> np.ndarray:
    """Which of the intervals between edges are in a span; spans may overlap, and begin and end at edges or beyond."""
    starts, ends = np.searchsorted(edges, np.asarray(spans, np.float64).reshape(-1, 2)).T
    change = np.zeros(len(edges) + 1, np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, ends, -1)
    return change.cumsum()[: max(len(edges) - 1, 0)] > 0


def _nobody(edges: np.ndarray) -> np.ndarray:
    return np.zeros((max(len(edges) - 1, 0), 0), bool)


def _rate(errors: float, whole: float) -> float:
    return errors / whole if whole else float(errors > 0)
