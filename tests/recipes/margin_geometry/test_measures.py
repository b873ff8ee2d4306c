from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from recipes.margin_geometry.measures import angles, confusion, directions, pair_eer, spread


def at(*degrees):
    turn = np.radians(degrees)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


@given(st.floats(0, 180), st.floats(0, 360))
def test_angles_between_turned_vectors(between, turn):
    assert angles(at(turn), at(turn + between))[0] == pytest.approx(between, abs=1e-12)


def test_angles_that_a_cosine_could_not_tell_from_zero():
    assert angles(at(0), at(1e-9))[0] == pytest.approx(1e-9, rel=1e-6)


def test_spread_of_two_classes_of_any_length():
    labels = np.array([0, 0, 1, 1])
    points = at(-10, 30, 90, 92) * [[1], [5], [0.1], [2]]
    found = spread(points, labels)
    # the mean direction of two points is halfway between them
    assert found.within_mean == pytest.approx((20 + 20 + 1 + 1) / 4)
    assert found.within_max == pytest.approx(20)
    assert found.between_min == pytest.approx(81)
    assert found.within_mean <= found.within_p95 <= found.within_max


def test_the_closest_of_three_centres():
    assert spread(at(0, 50, 340), np.arange(3)).between_min == pytest.approx(20)


def test_a_zero_embedding_has_no_direction_and_no_nan():
    assert np.array_equal(directions(np.zeros((1, 2))), np.zeros((1, 2)))
    assert np.isfinite(spread(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0, 0, 1]))).all()


def test_confusion_as_scikit_learn_counts():
    labels, predicted = np.random.default_rng(0).integers(0, 5, (2, 200))
    assert np.array_equal(confusion(labels, predicted), confusion_matrix(labels, predicted))


def test_pairs_of_separate_classes_have_no_errors_and_of_equal_ones_half():
    labels = np.array([0, 0, 1, 1])
    assert pair_eer(at(0, 1, 90, 91), labels) == 0
    assert pair_eer(at(0, 90, 0, 90), labels) >= 0.5
