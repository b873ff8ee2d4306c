"""Checks of trial lists and scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver.trials.table import Scores, Trials, codes, pair_keys

_ERRORS = 30  # "rule of 30" (Doddington et al., "The NIST speaker recognition evaluation", 2000)


class Cost(NamedTuple):
    """What a miss rate of 1 and a false-alarm rate of 1 add to a normalised detection cost."""

    miss: float
    false_alarm: float


def check(
    trials: Trials,
    speakers: Mapping[str, str] | None = None,
    training: Mapping[str, str] | None = None,
    costs: Mapping[str, Cost] | None = None,
) -> list[str]:
    """Warnings about a trial list, one line each: duplicates, trials of a recording with itself, contradicting labels.

    speakers: the speaker of each id; also checks the labels against the speakers and finds ids without a speaker
    training: the speaker of each training utterance; also counts speakers that the list shares with the training data
    costs: by name of the operating point; also warns if a cost of 1 is fewer than 30 errors
    """
    found = [(_itself(trials), "of a recording with itself")]
    (keys,) = pair_keys(trials)
    ranked = np.sort(keys)
    if (ranked[1:] == ranked[:-1]).any():  # search for the rows only if there are any
        found.insert(0, (_again(keys), "given more than once"))
        found.append((_contradicted(keys, trials), "labelled both target and nontarget"))
    said = []
    if speakers is not None:
        unknown, wrong = _against_speakers(trials, speakers)
        found += [(unknown, "with an id whose speaker is not known"), (wrong, "labelled against their speakers")]
        if training is not None:
            said = _shared(trials, speakers, training)
    return [f"{_count(odd, trials)} {what}" for odd, what in found if odd.any()] + said + _too_few(trials, costs or {})


def falling(scores: Scores) -> str | None:
    """A warning if targets do not score higher than non-targets, as with distances; else None.

    The difference of the two means has the sign of the slope of a logistic calibration.
    """
    target = scores.trials.target
    if target is None or target.all() or not target.any():
        return None
    of_targets, others = (float(scores.values.mean(dtype=np.float64, where=kind)) for kind in (target, ~target))
    if of_targets > others:
        return None
    return (
        f"targets do not score higher than non-targets (means {of_targets:.4g} and {others:.4g}): a higher score must "
        "mean the same speaker; change the sign if these are distances, or check the labels"
    )


def _itself(trials: Trials) -> np.ndarray:
    """Trials of a recording with itself."""
    same = pc.index_in(trials.test.dictionary, value_set=trials.enrol.dictionary).fill_null(-1).to_numpy()
    itself: np.ndarray = same[codes(trials.test)] == codes(trials.enrol)
    return itself


def _again(keys: np.ndarray) -> np.ndarray:
    """Trials whose pair occurs earlier in the list."""
    order = np.argsort(keys, kind="stable")
    again = np.zeros(len(keys), bool)
    again[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return again


def _contradicted(keys: np.ndarray, trials: Trials) -> np.ndarray:
    """One trial of each pair with both labels."""
    both = np.zeros(len(keys), bool)
    if trials.target is not None:
        # after sorting, a pair with both labels has two neighbouring rows with different labels
        order = np.lexsort((trials.target, keys))
        same = keys[order[1:]] == keys[order[:-1]]
        both[order[1:]] = same & (trials.target[order[1:]] != trials.target[order[:-1]])
    return both


def _against_speakers(trials: Trials, speakers: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Trials with an unknown speaker, and trials whose label contradicts the two speakers."""
    known = pa.array(speakers.keys(), pa.string())
    numbers = pa.array(speakers.values(), pa.string()).dictionary_encode().indices.to_numpy()
    sides = []
    for side in (trials.enrol, trials.test):
        rows = pc.index_in(side.dictionary, value_set=known).fill_null(len(known)).to_numpy()
        sides.append(np.append(numbers, -1)[rows][codes(side)])
    unknown = (sides[0] < 0) | (sides[1] < 0)
    wrong = np.zeros(len(trials), bool)
    if trials.target is not None:
        wrong = ~unknown & (trials.target != (sides[0] == sides[1]))
    return unknown, wrong


def _shared(trials: Trials, speakers: Mapping[str, str], training: Mapping[str, str]) -> list[str]:
    ids = {name for side in (trials.enrol, trials.test) for name in pc.unique(side).dictionary.to_pylist()}
    tested = {speakers[name] for name in ids if name in speakers}
    shared = sorted(tested & set(training.values()))
    return (
        [f"{len(shared)} of {len(tested)} speakers, first '{shared[0]}', are also in the training data"]
        if shared
        else []
    )


def _too_few(trials: Trials, costs: Mapping[str, Cost]) -> list[str]:
    if trials.target is None:
        return []
    targets = int(np.count_nonzero(trials.target))
    kinds = (("targets", targets), ("non-targets", len(trials) - targets))
    return [
        f"{count} {kind} are too few for {name}: at a cost of 1, {_ERRORS * weight:.0f} are needed for {_ERRORS} errors"
        for name, cost in costs.items()
        for (kind, count), weight in zip(kinds, cost)
        if count < _ERRORS * weight
    ]


def _count(odd: np.ndarray, trials: Trials) -> str:
    return f"{np.count_nonzero(odd)} of {len(odd)} trials, first {trials.name(int(np.argmax(odd)))},"
