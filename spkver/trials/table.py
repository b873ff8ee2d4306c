"""Trials and scores as columns, and how to join them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver.errors import InputError


@dataclass(frozen=True)
class Trials:
    """A trial list, one row per trial.

    enrol, test: ids, Arrow strings of any encoding; stored dictionary-encoded (four bytes per trial)
    target: bool (trials,), true for the same speaker; None if the list has no labels
    """

    enrol: pa.DictionaryArray
    test: pa.DictionaryArray
    target: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.enrol) != len(self.test) or (self.target is not None and self.target.shape != (len(self.enrol),)):
            raise InputError("a trial list needs one enrolment id, one test id and one label for each trial")
        object.__setattr__(self, "enrol", encoded(self.enrol))
        object.__setattr__(self, "test", encoded(self.test))

    def __len__(self) -> int:
        return len(self.enrol)

    def name(self, row: int) -> str:
        """The two ids of a trial, for messages."""
        return f"'{self.enrol[row].as_py()} {self.test[row].as_py()}'"

    def take(self, rows: np.ndarray) -> Trials:
        """The trials in these rows (indices or a mask), in this order."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        at = pa.array(rows)
        return Trials(self.enrol.take(at), self.test.take(at), None if self.target is None else self.target[rows])


@dataclass(frozen=True)
class Scores:
    """A score for each trial of a list, higher for the same speaker; values: finite float32 or float64 (trials,)."""

    trials: Trials
    values: np.ndarray

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.trials),):
            raise InputError(f"{len(self.values)} scores for {len(self.trials)} trials")
        if self.values.dtype != np.float32:
            object.__setattr__(self, "values", self.values.astype(np.float64, copy=False))

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def labels(self) -> np.ndarray:
        """The trials' labels, bool (trials,). Raises InputError if there are none."""
        if self.trials.target is None:
            raise InputError("the scores have no labels: give a trial list with labels")
        return self.trials.target

    def take(self, rows: np.ndarray) -> Scores:
        """The scores in these rows (indices or a mask), in this order."""
        return Scores(self.trials.take(rows), self.values[rows])


def encoded(column: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """Strings as one dictionary-encoded array with int32 codes; returned unchanged if it is one already."""
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if not isinstance(column, pa.DictionaryArray):
        return column.cast(pa.string()).dictionary_encode()
    if column.type != pa.dictionary(pa.int32(), pa.string()):
        return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), column.dictionary.cast(pa.string()))
    return column


def codes(column: pa.DictionaryArray) -> np.ndarray:
    """The codes of a column, int32 (rows,): the index of each id in `column.dictionary`."""
    numbers: np.ndarray = column.indices.to_numpy(zero_copy_only=False)
    return numbers


def concatenate(parts: Sequence[Trials]) -> Trials:
    """Concatenate lists; either all have labels or none has."""
    if len(parts) == 1:
        return parts[0]
    labels = [part.target for part in parts if part.target is not None]
    return Trials(
        encoded(pa.chunked_array([part.enrol for part in parts])),
        encoded(pa.chunked_array([part.test for part in parts])),
        np.concatenate(labels) if labels else None,
    )


def join(scores: Scores, trials: Trials, names: tuple[str, str] = ("the scores", "the trial list")) -> Scores:
    """Bring scores into the order of a trial list, with its labels. Rows are matched by (enrol, test).

    names: names of the two inputs for error messages
    Raises InputError for trials without a score, scores without a trial, and trials with two scores or labels.
    """
    own = scores.trials
    scored, wanted = pair_keys(own, trials)
    rows = np.arange(len(trials)) if np.array_equal(scored, wanted) else _match(scores, scored, trials, wanted, names)
    values = scores.values[rows]
    if trials.target is None:
        target = None if own.target is None else own.target[rows]
        return Scores(Trials(trials.enrol, trials.test, target), values)
    if own.target is not None:
        _refuse(own.target[rows] != trials.target, trials, f"trials have different labels in {names[0]} and {names[1]}")
    return Scores(trials, values)


def pair_keys(*lists: Trials) -> list[np.ndarray]:
    """Integer keys of the pairs (enrol, test) of each list, int64 (trials,); equal pairs have equal keys."""
    known = pc.unique(pa.concat_arrays([side.dictionary for each in lists for side in (each.enrol, each.test)]))

    def numbers(side: pa.DictionaryArray) -> np.ndarray:
        shared = pc.index_in(side.dictionary, value_set=known).to_numpy(zero_copy_only=False).astype(np.int64)
        return shared[codes(side)]

    keys = []
    for each in lists:
        key = numbers(each.enrol)
        key *= len(known)
        key += numbers(each.test)
        keys.append(key)
    return keys


def _match(
    scores: Scores, scored: np.ndarray, trials: Trials, wanted: np.ndarray, names: tuple[str, str]
) -> np.ndarray:
    """For each trial, the row of its score."""
    order = np.argsort(scored, kind="stable")
    ranked = scored[order]
    place = np.minimum(np.searchsorted(ranked, wanted), len(ranked) - 1)
    _refuse(ranked[place] != wanted, trials, f"trials of {names[1]} are missing from {names[0]}")
    _refuse(~np.isin(scored, wanted), scores.trials, f"trials of {names[0]} are not in {names[1]}")
    twice = np.zeros(len(scored), bool)
    value = scores.values[order]
    twice[order[1:]] = (ranked[1:] == ranked[:-1]) & (value[1:] != value[:-1])
    _refuse(twice, scores.trials, f"trials have two different scores in {names[0]}")
    rows: np.ndarray = order[place]
    return rows


def _refuse(bad: np.ndarray, trials: Trials, what: str) -> None:
    if bad.any():
        raise InputError(f"{np.count_nonzero(bad)} of {len(bad)} {what}, first {trials.name(int(np.argmax(bad)))}")
