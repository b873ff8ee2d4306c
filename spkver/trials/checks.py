"""What is odd about a trial list."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from spkver.trials.table import Trials, codes, pair_keys


def check(trials: Trials) -> list[str]:
    """What is odd about a trial list, one line each: trials given twice, of a recording with itself, or both labels."""
    found = [(_itself(trials), "of a recording with itself")]
    (keys,) = pair_keys(trials)
    ranked = np.sort(keys)
    if (ranked[1:] == ranked[:-1]).any():  # the rows are sought where there is something to find
        found = [
            (_again(keys), "given more than once"),
            *found,
            (_contradicted(keys, trials), "labelled both target and nontarget"),
        ]
    return [f"{_count(odd, trials)} {what}" for odd, what in found if odd.any()]


def _itself(trials: Trials) -> np.ndarray:
    """Trials of a recording with itself."""
    same = pc.index_in(trials.test.dictionary, value_set=trials.enrol.dictionary).fill_null(-1).to_numpy()
    return same[codes(trials.test)] == codes(trials.enrol)


def _again(keys: np.ndarray) -> np.ndarray:
    """Trials whose pair stands further up in the list, too."""
    order = np.argsort(keys, kind="stable")
    again = np.zeros(len(keys), bool)
    again[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return again


def _contradicted(keys: np.ndarray, trials: Trials) -> np.ndarray:
    """One trial of each pair that has both labels."""
    both = np.zeros(len(keys), bool)
    if trials.target is not None:
        # twice the same key with another label: the label differs from that of the key's neighbour in the sort
        order = np.lexsort((trials.target, keys))
        same = keys[order[1:]] == keys[order[:-1]]
        both[order[1:]] = same & (trials.target[order[1:]] != trials.target[order[:-1]])
    return both


def _count(odd: np.ndarray, trials: Trials) -> str:
    return f"{np.count_nonzero(odd)} of {len(odd)} trials, first {trials.name(int(np.argmax(odd)))},"
