from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver.diarization.boundaries import Stretch, best_path, joined, second_speakers, stretches
from spkver.diarization.windows import Windows


@given(st.integers(1, 6), st.integers(1, 3), st.floats(0, 3), st.integers(0, 100))
def test_best_path_equals_the_best_of_all(frames, states, penalty, seed):
    scores = np.random.default_rng(seed).normal(size=(frames, states))

    def value(path):
        return scores[np.arange(frames), list(path)].sum() - penalty * np.count_nonzero(np.diff(path))

    assert value(best_path(scores, penalty)) == pytest.approx(
        max(map(value, itertools.product(range(states), repeat=frames)))
    )


@pytest.mark.parametrize("change", [4.0, 4.1, 4.35])
def test_boundaries_are_finer_than_the_shift(change):
    """The vector of a window is the mean of what it covers, of two orthogonal voices."""
    starts = np.arange(0, 8.6, 0.5)
    share = ((change - starts) / 1.5).clip(0, 1)
    vectors = np.stack([share, 1 - share], axis=1)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    windows = Windows(
        np.stack([starts, starts + 1.5], axis=1), np.zeros(len(starts), np.int64), vectors, np.ones(len(starts))
    )
    labels = (share < 0.5).astype(np.int64)
    found = stretches(windows, labels, [(0, 160000)], 16000, 0.1)
    assert [stretch.speaker for stretch in found] == [0, 1]
    assert found[0].start == 0 and found[1].end == 10
    assert found[0].end == found[1].start == pytest.approx(change, abs=0.1)


def test_a_region_without_a_window_takes_the_nearest_label():
    vectors = np.eye(2, dtype=np.float32)
    windows = Windows(np.array([[0.0, 1.5], [9.0, 10.5]]), np.array([0, 2]), vectors, np.ones(2))
    found = stretches(windows, np.array([0, 1]), [(0, 24000), (112000, 120000), (144000, 168000)], 16000, 0.1)
    assert [tuple(one) for one in found] == [(0, 1.5, 0), (7, 7.5, 1), (9, 10.5, 1)]


def test_the_next_speaker_in_time_is_the_second():
    found = [Stretch(0, 4, 0), Stretch(4, 6, 1), Stretch(9, 12, 2), Stretch(13, 14, 2), Stretch(15, 16, 0)]
    seconds = [(3.5, 4.5), (5.0, 5.5), (10.0, 10.5), (12.5, 13.5), (20, 21)]  # around a change, inside, half in silence
    second = second_speakers(found, [(round(100 * a), round(100 * b)) for a, b in seconds], 100)
    assert second == [
        Stretch(3.5, 4, 1),
        Stretch(4, 4.5, 0),
        Stretch(5.0, 5.5, 0),
        Stretch(10.0, 10.5, 1),
        Stretch(13, 13.5, 0),
    ]
    assert joined(found + second) == [
        Stretch(0, 4.5, 0),
        Stretch(3.5, 6, 1),
        Stretch(5.0, 5.5, 0),
        Stretch(9, 12, 2),
        Stretch(10.0, 10.5, 1),
        Stretch(13, 13.5, 0),
        Stretch(13, 14, 2),
        Stretch(15, 16, 0),
    ]


def test_one_speaker_has_no_second():
    assert second_speakers([Stretch(0, 4, 0)], [(1, 3)], 1) == []
    assert second_speakers([], [(1, 3)], 1) == []
