from __future__ import annotations

import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver.errors import InputError
from spkver.trials import (
    make_trials,
)


@st.composite
def corpora(draw):
    ids = draw(
        st.lists(st.text(string.ascii_letters + "é", min_size=1, max_size=3), min_size=4, max_size=12, unique=True)
    )
    speakers = draw(st.lists(st.sampled_from("pqr"), min_size=len(ids), max_size=len(ids)))
    sessions = draw(st.lists(st.sampled_from("12"), min_size=len(ids), max_size=len(ids)))
    groups = {s: draw(st.sampled_from("lh")) for s in "pqr"}
    return ids, speakers, sessions, groups


@given(corpus=corpora(), across=st.booleans(), grouped=st.booleans(), seed=st.integers(0, 9), data=st.data())
def test_made_trials_have_the_requested_properties(corpus, across, grouped, seed, data, rows):
    ids, speakers, sessions, group_of = corpus
    speaker, session = dict(zip(ids, speakers)), dict(zip(ids, sessions))
    groups = [group_of[s] for s in speakers] if grouped else None

    pairs = [tuple(sorted(pair, key=str.encode)) for pair in itertools.combinations(ids, 2)]
    same = {(a, b) for a, b in pairs if speaker[a] == speaker[b] and (not across or session[a] != session[b])}
    different = {(a, b) for a, b in pairs if speaker[a] != speaker[b]}
    if grouped:
        different = {(a, b) for a, b in different if group_of[speaker[a]] == group_of[speaker[b]]}

    def make(order, nontargets):
        def pick(values):
            return [values[i] for i in order]

        return make_trials(
            pick(ids), pick(speakers), pick(sessions), nontargets=nontargets, seed=seed, across_sessions=across,
            groups=pick(groups) if grouped else None,
        )  # fmt: skip

    whole = range(len(ids))
    if not same or not different:
        with pytest.raises(InputError):
            make(whole, 1)
        return
    count = data.draw(st.integers(1, len(different)))
    made = make(whole, count)
    listed = rows(made)
    assert {row for row, target in zip(listed, made.target) if target} == same
    drawn = [row for row, target in zip(listed, made.target) if not target]
    assert len(set(drawn)) == len(drawn) == count
    assert set(drawn) <= different
    assert listed == sorted(listed, key=lambda row: (row[0].encode(), row[1].encode()))
    shuffled = make(data.draw(st.permutations(whole)), count)
    assert rows(shuffled) == listed and (shuffled.target == made.target).all()
    with pytest.raises(InputError, match=f"give a number from 1 to {len(different)}"):
        make(whole, len(different) + 1)


def test_non_targets_are_drawn_evenly(rows):
    ids, speakers = [f"u{i}" for i in range(6)], ["p"] * 1 + ["q"] * 2 + ["r"] * 3
    counts: dict = {}
    for seed in range(600):
        made = make_trials(ids, speakers, nontargets=3, seed=seed)
        for row, target in zip(rows(made), made.target):
            if not target:
                counts[row] = counts.get(row, 0) + 1
    assert len(counts) == 11  # 1*2 + 1*3 + 2*3, each in 3 of 11 draws
    assert all(abs(n - 600 * 3 / 11) < 60 for n in counts.values())


def test_another_seed_gives_another_list(rows):
    ids, speakers = [f"u{i:03}" for i in range(200)], [f"s{i % 20}" for i in range(200)]
    one, other = (make_trials(ids, speakers, nontargets=100, seed=seed) for seed in (0, 1))
    assert rows(one) != rows(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": ["a", "a", "b"]}, "'a' occurs twice"),
        ({"speakers": ["p", "q"]}, "3 ids but 2 speakers"),
        ({"groups": ["l", "h", "l"]}, "belongs to two groups"),
        ({"speakers": ["p", "q", "r"]}, "no speaker has two utterances"),
        ({"sessions": ["1", "1", "1"], "across_sessions": True}, "no speaker has two utterances across sessions"),
        ({"ids": [], "speakers": []}, "no speaker has two utterances"),
        ({"nontargets": 0}, "give a number from 1 to 2"),
    ],
)
def test_impossible_requests_are_rejected(change, message):
    given_ = {"ids": ["a", "b", "c"], "speakers": ["p", "p", "q"], "nontargets": 1, "seed": 0} | change
    with pytest.raises(InputError, match=message):
        make_trials(**given_)


def test_targets_limits_the_target_trials_to_a_random_sample():
    ids = [f"s{row % 3}-{row}" for row in range(12)]
    speakers = [name.split("-")[0] for name in ids]
    whole = make_trials(ids, speakers, nontargets=20, seed=0)
    some, other = (make_trials(ids, speakers, nontargets=20, seed=seed, targets=5) for seed in (0, 1))

    def pairs(made, target):
        rows = [(*row, kind) for *row, kind in zip(made.enrol.to_pylist(), made.test.to_pylist(), made.target)]
        return {row for row in rows if row[2] == target}

    assert len(pairs(some, True)) == 5 and pairs(some, True) < pairs(whole, True)
    assert pairs(some, True) != pairs(other, True)
    assert pairs(some, False) == pairs(whole, False)  # the non-targets are as without the limit
    assert pairs(make_trials(ids, speakers, nontargets=20, seed=0, targets=99), True) == pairs(whole, True)
    with pytest.raises(InputError, match="cannot make 0 target trials"):
        make_trials(ids, speakers, nontargets=20, seed=0, targets=0)
