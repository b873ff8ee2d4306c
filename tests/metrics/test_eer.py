from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from spkver.metrics import eer, eer_convex_hull, equal_error, error_curve


def sweep(scores, target):
    """(miss, false alarm) at every threshold, from accept-all to reject-all, counted for each."""
    points = []
    for threshold in [*sorted(set(scores.tolist())), np.inf]:
        accepted = scores >= threshold
        points.append((np.mean(~accepted[target]), np.mean(accepted[~target])))
    return np.array(points)


def crossing(one, other):
    """Where the line between two points crosses miss == false alarm, or None."""
    d0, d1 = one[0] - one[1], other[0] - other[1]
    if d0 * d1 > 0:
        return None
    if d0 == d1:
        return one[0]
    return one[0] + (other[0] - one[0]) * d0 / (d0 - d1)


@given(data=st.data())
def test_eer_equals_brute_force(data, trial_lists):
    scores, target = data.draw(trial_lists())
    points = sweep(scores, target)
    meetings = [m for m in map(crossing, points, points[1:]) if m is not None]
    assert eer(scores, target) == pytest.approx(meetings[0], abs=1e-12)
    assert meetings == pytest.approx([meetings[0]] * len(meetings), abs=1e-12)  # one crossing, whichever segment


@given(data=st.data())
def test_hull_eer_equals_lowest_chord(data, trial_lists):
    scores, target = data.draw(trial_lists())
    chords = [crossing(a, b) for a, b in itertools.combinations(sweep(scores, target), 2)]
    expected = min(c for c in chords if c is not None)
    assert eer_convex_hull(scores, target) == pytest.approx(expected, abs=1e-12)
    assert eer_convex_hull(scores, target) <= eer(scores, target) + 1e-15


@given(data=st.data())
def test_eer_is_invariant_to_order_and_monotonic_maps(data, trial_lists):
    scores, target = data.draw(trial_lists())
    order = data.draw(st.permutations(range(len(scores))))
    assert eer(scores[order], target[order]) == eer(scores, target)
    assert eer_convex_hull(scores[order], target[order]) == eer_convex_hull(scores, target)
    ranks = np.unique(scores, return_inverse=True)[1]
    assert eer(ranks, target) == eer(scores, target)


@given(data=st.data())
def test_eer_is_symmetric_in_targets_and_nontargets(data, trial_lists):
    # score >= t becomes score > t under negation, which is the same family of points
    scores, target = data.draw(trial_lists())
    assert eer(-scores, ~target) == pytest.approx(eer(scores, target), abs=1e-12)


@given(data=st.data())
def test_threshold_is_nearest_to_crossing(data, trial_lists):
    scores, target = data.draw(trial_lists())
    threshold = equal_error(error_curve(scores, target)).threshold
    assert threshold in scores
    accepted = scores >= threshold
    gap = abs(np.mean(~accepted[target]) - np.mean(accepted[~target]))
    assert gap == pytest.approx(min(abs(m - f) for m, f in sweep(scores, target)), abs=1e-12)


def test_eer_equals_sklearn_and_scipy():
    rng = np.random.default_rng(0)
    target = rng.random(20_000) < 0.2
    scores = rng.normal(size=target.size) + 2 * target
    alarm, hit, _ = roc_curve(target, scores, drop_intermediate=False)
    expected = brentq(lambda x: 1.0 - x - interp1d(alarm, hit)(x), 0.0, 1.0)
    assert eer(scores, target) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "target", "expected"),
    [
        ([0.0, 1.0], [0, 1], 0.0),  # separated
        ([1.0, 0.0], [0, 1], 1.0),  # all wrong
        ([1.0, 1.0], [0, 1], 0.5),  # all tied
        ([1, 2, 3, 4], [0, 1, 0, 1], 0.5),
        ([0, 0, 0, 1], [0, 0, 1, 1], 1 / 3),  # half the targets tie with all the non-targets
    ],
)
def test_values_by_hand(scores, target, expected):
    assert eer(scores, target) == pytest.approx(expected)


def test_hull_eer_by_hand():
    # points (miss, alarm): (0,1) (0,1/2) (1/2,1/2) (1/2,0) (1,0): the chord from (0,1/2) to (1/2,0)
    assert eer([1, 2, 3, 4], [0, 1, 0, 1]) == 0.5
    assert eer_convex_hull([1, 2, 3, 4], [0, 1, 0, 1]) == pytest.approx(0.25)
