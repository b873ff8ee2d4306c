"""Errors by group: by the metadata of the two recordings of a trial, and by speaker."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from spkver import lists, metrics
from spkver.errors import InputError, nearest
from spkver.scoring.metadata import look_up, speakers_of
from spkver.trials import Scores

_BANDS = 4  # bands of a numeric column without given edges


@dataclass(frozen=True)
class Group:
    """The errors of a group of trials.

    miss, false_alarm: rates at the EER threshold of the whole list; None without targets or non-targets
    eer: the EER of the group itself; None if it has only targets or only non-targets
    """

    name: str
    targets: int
    nontargets: int
    miss: float | None
    false_alarm: float | None
    eer: float | None


@dataclass(frozen=True)
class SpeakerErrors:
    """The errors of a speaker, over all trials with this speaker on either side.

    misses, targets: of trials within the speaker; false_alarms, nontargets: of trials with other speakers
    taken_for, times: the speaker it is most often confused with ("" if none), and how often
    """

    speaker: str
    misses: int
    targets: int
    false_alarms: int
    nontargets: int
    taken_for: str
    times: int


def break_down(scores: Scores, table: pa.Table, by: str, edges: Sequence[float] | None = None) -> list[Group]:
    """Errors by the values of a column on the two sides of a trial.

    by: column of the table. Numbers are grouped in bands between `edges`, by default quartiles.
    A trial with two different values belongs to the group `one / other`, in either order; ids without a value have `?`.
    Raises InputError for scores without labels, and an unknown column.
    """
    kinds, names = _kinds(table, by, edges)
    sides = np.sort([look_up(side, table, kinds, len(names)) for side in (scores.trials.enrol, scores.trials.test)], 0)
    names = [*names, "?"]
    group = sides[0].astype(np.int64) * len(names) + sides[1]
    threshold = metrics.equal_error(metrics.error_curve(scores.values, scores.labels)).threshold
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    groups = []
    for rows in np.split(order, starts[1:]):
        one, other = divmod(int(group[rows[0]]), len(names))
        name = names[one] if one == other else f"{names[one]} / {names[other]}"
        groups.append(_group(name, scores.values[rows], scores.labels[rows], threshold))
    return groups


def worst_speakers(scores: Scores, table: pa.Table, threshold: float | None = None) -> list[SpeakerErrors]:
    """The errors of every speaker, sorted by the mean of miss and false-alarm rate, highest first.

    table: has the columns `id` and `speaker`; threshold: by default that of the EER
    Raises InputError for scores without labels, and ids without a speaker.
    """
    if threshold is None:
        threshold = metrics.equal_error(metrics.error_curve(scores.values, scores.labels)).threshold
    one, other, names = speakers_of(scores.trials, table)
    target, accepted = scores.labels, scores.values >= threshold
    false = accepted & ~target

    def counted(rows: np.ndarray) -> np.ndarray:
        """The number of these trials with each speaker; a trial within one speaker counts once."""
        found = np.bincount(one[rows], minlength=len(names))
        rows = rows[one[rows] != other[rows]]
        total: np.ndarray = found + np.bincount(other[rows], minlength=len(names))
        return total

    misses, targets, alarms, nontargets = (
        counted(np.flatnonzero(rows)) for rows in (target & ~accepted, target, false, ~target)
    )
    pairs = np.concatenate([one[false] * len(names) + other[false], other[false] * len(names) + one[false]])
    taken, times = np.unique(pairs, return_counts=True)
    most = {}
    for place in np.argsort(times, kind="stable"):
        most[int(taken[place]) // len(names)] = (names[int(taken[place]) % len(names)], int(times[place]))
    share = misses / np.maximum(targets, 1) + alarms / np.maximum(nontargets, 1)
    there = np.flatnonzero(targets + nontargets)
    return [
        SpeakerErrors(
            speaker=names[speaker],
            misses=int(misses[speaker]),
            targets=int(targets[speaker]),
            false_alarms=int(alarms[speaker]),
            nontargets=int(nontargets[speaker]),
            taken_for=most.get(speaker, ("", 0))[0],
            times=most.get(speaker, ("", 0))[1],
        )
        for speaker in there[np.argsort(-share[there], kind="stable")].tolist()
    ]


def _kinds(table: pa.Table, by: str, edges: Sequence[float] | None) -> tuple[np.ndarray, list[str]]:
    """The group of each row of the table, int32 (len(names) if unknown), and the names of the groups."""
    if by not in table.column_names:
        raise InputError(f"no column '{by}'{nearest(by, [name for name in table.column_names if name != 'id'])}")
    column = table[by].combine_chunks()
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or edges is not None:
        return _bands(column, by, edges)
    encoded = lists.cast(column, pa.string(), f"the column '{by}'").dictionary_encode()
    words = encoded.dictionary.to_pylist()
    names = sorted(words)
    place = {name: number for number, name in enumerate(names)}
    numbers = np.array([*(place[word] for word in words), len(names)], np.int32)
    return numbers[encoded.indices.fill_null(len(names)).to_numpy()], names


def _bands(column: pa.Array, by: str, edges: Sequence[float] | None) -> tuple[np.ndarray, list[str]]:
    values = lists.cast(column, pa.float64(), f"the column '{by}'").to_numpy(zero_copy_only=False)
    known = np.isfinite(values)
    if edges is None:
        found = np.quantile(values[known], np.arange(1, _BANDS) / _BANDS).tolist() if known.any() else []
        limits = np.unique([float(f"{limit:.3g}") for limit in found])  # short numbers for the names
    else:
        limits = np.unique(np.asarray(edges, np.float64))
    texts = [f"{limit:g}" for limit in limits]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(texts)]
    names = [f"under {texts[0]}", *between, f"from {texts[-1]}"] if texts else [by]
    return np.where(known, np.searchsorted(limits, values, side="right"), len(names)).astype(np.int32), names


def _group(name: str, values: np.ndarray, target: np.ndarray, threshold: float) -> Group:
    accepted = values >= threshold
    targets = int(np.count_nonzero(target))
    nontargets = len(target) - targets
    return Group(
        name,
        targets,
        nontargets,
        float(np.mean(~accepted[target])) if targets else None,
        float(np.mean(accepted[~target])) if nontargets else None,
        metrics.eer(values, target) if targets and nontargets else None,
    )
