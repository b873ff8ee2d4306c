from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver.errors import InputError
from spkver.trials import (
    Scores,
    join,
)


@given(order=st.permutations(range(6)), other=st.permutations(range(6)))
def test_join_gives_each_trial_its_own_score(order, other, trials, rows):
    keys = [f"{e} {t}" for e, t in itertools.product("ab", "xyz")]
    own = dict(zip(keys, np.arange(6, dtype=np.float32)))
    scores = Scores(trials([keys[i] for i in order]), np.array([own[keys[i]] for i in order]))
    listed = trials([keys[i] for i in other], [i % 2 for i in other])
    joined = join(scores, listed)
    assert rows(joined.trials) == rows(listed)
    assert joined.values.tolist() == [own[keys[i]] for i in other]
    assert (joined.trials.target == listed.target).all()


def test_join_rejects_missing_and_extra_trials(trials):
    scores = Scores(trials(["a b", "a c", "a d"]), np.float32([1, 2, 3]))
    with pytest.raises(InputError, match="1 of 2 trials of L are missing from S, first 'a e'"):
        join(scores, trials(["a b", "a e"]), names=("S", "L"))
    with pytest.raises(InputError, match="2 of 3 trials of S are not in L, first 'a c'"):
        join(scores, trials(["a b"]), names=("S", "L"))
    with pytest.raises(InputError, match="are missing from"):  # enrol and test are not interchangeable
        join(scores, trials(["a b", "a c", "d a"]))


def test_join_rejects_contradicting_scores_and_labels(trials):
    twice = Scores(trials(["a b", "a c", "a b"]), np.float32([1, 2, 3]))
    with pytest.raises(InputError, match=r"two different scores .* first 'a b'"):
        join(twice, trials(["a c", "a b"]))
    labelled = Scores(trials(["a b", "a c"], [1, 0]), np.float32([1, 2]))
    with pytest.raises(InputError, match=r"1 of 2 trials have different labels .* first 'a c'"):
        join(labelled, trials(["a b", "a c"], [1, 1]))


def test_join_keeps_labels_and_repeated_trials(trials):
    scores = Scores(trials(["a b", "a c", "a b"], [1, 0, 1]), np.float32([1, 2, 1]))
    joined = join(scores, trials(["a c", "a b", "a b"]))
    assert joined.values.tolist() == [2, 1, 1]
    assert joined.trials.target.tolist() == [False, True, True]
