"""Make trial lists from a set of utterances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver import lists
from spkver.errors import InputError
from spkver.trials.table import Trials


def make_trials(
    ids: Sequence[str],
    speakers: Sequence[str],
    sessions: Sequence[str] | None = None,
    *,
    nontargets: int,
    seed: int,
    targets: int | None = None,
    across_sessions: bool = False,
    groups: Sequence[str] | None = None,
) -> Trials:
    """Make a list of target pairs and a random sample of non-target pairs of a set of utterances.

    ids, speakers, sessions, groups: one per utterance; the list does not depend on their order
    nontargets: number of non-target pairs, drawn without replacement
    targets: largest number of target pairs, drawn without replacement; None for all
    across_sessions: use only target pairs from different sessions
    groups: use only non-target pairs within one group (for example gender); a speaker belongs to one group
    The list is sorted. In each pair, enrol comes before test in byte order; no utterance is paired with itself.
    Raises InputError if there are not enough pairs.
    """
    table = _utterances(ids, speakers, sessions, groups)
    speaker_end = _run_ends(table["group"], table["speaker"])
    rows = np.arange(len(ids))
    partner = _run_ends(table["group"], table["speaker"], table["session"]) if across_sessions else rows + 1
    count = int((speaker_end - partner).sum())
    if not count:
        across = " across sessions" if across_sessions else ""
        raise InputError(f"no speaker has two utterances{across}: there are no target trials")
    which = np.arange(count)
    if targets is not None:
        if targets < 1:
            raise InputError(f"cannot make {targets} target trials: give a number of at least 1")
        count = min(count, targets)
        which = np.random.default_rng([seed, 1]).permutation(which)[:count]
    same = _pairs(partner, speaker_end, which)
    group_end = _run_ends(table["group"])
    available = int((group_end - speaker_end).sum())
    if not 0 < nontargets <= available:
        raise InputError(f"cannot make {nontargets} non-target trials: give a number from 1 to {available}")
    chosen = np.random.default_rng(seed).choice(available, nontargets, replace=False)
    different = _pairs(speaker_end, group_end, chosen)

    names = pc.take(pa.array(ids, pa.string()), pa.array(table["row"]))
    rank = np.empty(len(ids), np.int64)  # of each row's id in byte order
    rank[pc.sort_indices(names).to_numpy()] = rows
    one, other = np.concatenate([same, different], axis=1)
    one, other = np.where(rank[one] < rank[other], (one, other), (other, one))
    order = np.lexsort((rank[other], rank[one]))
    target = (np.arange(len(order)) < count)[order]
    return Trials(names.take(pa.array(one[order])), names.take(pa.array(other[order])), target)


def _utterances(
    ids: Sequence[str], speakers: Sequence[str], sessions: Sequence[str] | None, groups: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """Codes of group, speaker and session, and the row of `ids`, sorted by (group, speaker, session, id)."""
    given = {"speaker": speakers, "session": sessions, "group": groups}
    for name, values in given.items():
        if values is not None and len(values) != len(ids):
            raise InputError(f"{len(ids)} ids but {len(values)} {name}s")
    names = pa.array(ids, pa.string())
    if (twice := lists.first_duplicate(names)) is not None:
        raise InputError(f"the utterance '{twice}' occurs twice")
    if sessions is None:
        given["session"] = given["speaker"]
    codes = {name: _ranks(values, len(ids)) for name, values in given.items()}
    order = np.lexsort((_ranks(ids, len(ids)), codes["session"], codes["speaker"], codes["group"]))
    table = {name: code[order] for name, code in codes.items()}
    pairs = np.unique(np.stack([codes["speaker"], codes["group"]]), axis=1)[0]
    if len(ids) and len(np.unique(pairs)) < len(pairs):
        raise InputError("a speaker belongs to two groups: every speaker needs exactly one")
    return {**table, "row": order}


def _ranks(values: Sequence[str] | None, size: int) -> np.ndarray:
    """The rank of each value among the distinct values in byte order; all 0 for None."""
    if values is None:
        return np.zeros(size, np.int64)
    return pc.rank(pa.array(values, pa.string()), tiebreaker="dense").to_numpy().astype(np.int64)


def _run_ends(*codes: np.ndarray) -> np.ndarray:
    """For each row, the end (exclusive) of the run of rows with the same codes."""
    changes = np.any([code[1:] != code[:-1] for code in codes], axis=0)
    ends = np.append(np.flatnonzero(changes) + 1, len(codes[0]))
    return np.repeat(ends, np.diff(ends, prepend=0))


def _pairs(first: np.ndarray, end: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The pairs with the numbers `which`. Row i pairs with rows first[i] to end[i]; pairs are numbered row by row."""
    total = np.cumsum(end - first)
    one = np.searchsorted(total, which, side="right")
    return np.stack([one, end[one] - (total[one] - which)])
