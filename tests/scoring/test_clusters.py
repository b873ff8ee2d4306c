"""Grouping of recordings by voice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.scoring import clusters
from spkver.scoring.clusters import agreement, cluster, write_groups


def voices(speakers, each, noise=0.3, dim=16, seed=0):
    """Embeddings of speakers in random order, of different norms."""
    random = np.random.default_rng(seed)
    who = random.permutation(np.repeat(np.arange(speakers), each))
    vectors = random.normal(size=(speakers, dim))[who] + noise * random.normal(size=(len(who), dim))
    vectors *= random.uniform(0.1, 10, (len(who), 1))
    names = [f"u{number}" for number in range(len(who))]
    return Embeddings(names, vectors.astype(np.float32), [f"s{number}" for number in who])


def by_hand(groups, speakers):
    pairs = list(itertools.combinations(range(len(groups)), 2))
    within = [pair for pair in pairs if groups[pair[0]] == groups[pair[1]]]
    own = [pair for pair in pairs if speakers[pair[0]] == speakers[pair[1]]]
    both = len(set(within) & set(own))
    return both / max(1, len(within)), both / max(1, len(own))


def test_groups_are_the_speakers_if_voices_are_far_apart():
    found = voices(12, 8)
    groups = cluster(found, 12)
    assert agreement(groups, found.speakers) == (1, 1)
    _, first = np.unique(groups, return_index=True)
    assert list(groups[np.sort(first)]) == list(range(12))  # numbered in order of first occurrence


def test_groups_after_k_means_are_those_of_linkage(monkeypatch):
    pytest.importorskip("faiss")
    found = voices(12, 20)
    plain = cluster(found, 12)
    monkeypatch.setattr(clusters, "DIRECTLY", 60)
    np.testing.assert_array_equal(cluster(found, 12), plain)
    np.testing.assert_array_equal(cluster(found, 12), cluster(found, 12))


@given(st.integers(1, 24), st.integers(0, 5))
def test_there_are_as_many_groups_as_asked_for(number, seed):
    found = voices(6, 4, noise=1.0, seed=seed)
    groups = cluster(found, number)
    assert sorted(set(groups)) == list(range(number))
    assert agreement(groups, found.speakers) == pytest.approx(by_hand(groups, found.speakers))


def test_number_of_groups_out_of_range_is_rejected():
    with pytest.raises(InputError, match="8 embeddings cannot be grouped into 9 speakers"):
        cluster(voices(2, 4), 9)


def test_lines(tmp_path):
    write_groups(tmp_path / "labels", ["a", "b", "c"], np.array([0, 10, 0]))
    assert (tmp_path / "labels").read_text() == "a g00\nb g10\nc g00\n"
