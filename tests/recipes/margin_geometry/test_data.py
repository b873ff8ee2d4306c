from __future__ import annotations

import sys

import numpy as np
import pytest

from recipes.margin_geometry import data
from spkver.errors import InputError


def test_digits_are_split_in_their_order():
    points = data.digits()
    assert points.classes == 10
    assert [len(part.y) for part in points] == [1200, 597]
    assert all(part.x.shape[1] == 64 and part.x.dtype == np.float32 and np.abs(part.x).max() == 1 for part in points)
    assert points.train.y[:3].tolist() == [0, 1, 2]


def test_speakers_of_a_seed_are_the_same_and_not_trivial():
    points, again, other = data.speakers(3), data.speakers(3), data.speakers(4)
    assert points.classes == 8
    assert [len(part.y) for part in points] == [1600, 800]
    for part, same in zip(points, again):
        assert np.array_equal(part.x, same.x) and np.array_equal(part.y, same.y)
        assert np.bincount(part.y).tolist() == [len(part.y) // 8] * 8
    assert not np.allclose(points.train.x, other.train.x)
    # the nearest mean of a speaker is right for most test utterances and wrong for some
    means = np.stack([points.train.x[points.train.y == speaker].mean(axis=0) for speaker in range(8)])
    nearest = np.linalg.norm(points.test.x[:, None] - means, axis=2).argmin(axis=1)
    assert 0.8 < np.mean(nearest == points.test.y) < 0.98


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"pip install 'spkver\[geometry\]'"):
        data.digits()
