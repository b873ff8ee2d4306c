from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import det_curve, roc_curve

from spkver.errors import InputError
from spkver.metrics import (
    SortedTrials,
    corners,
    eer,
    error_curve,
    miss_at_false_alarm,
    threshold_at_false_alarm,
    threshold_at_miss,
)


def sweep(scores, target):
    """All distinct thresholds, with errors counted for each."""
    thresholds = [*sorted(set(scores.tolist())), np.inf]
    miss = [np.mean([s < t for s, y in zip(scores, target) if y]) for t in thresholds]
    alarm = [np.mean([s >= t for s, y in zip(scores, target) if not y]) for t in thresholds]
    return np.array(thresholds), np.array(miss), np.array(alarm)


def test_counts_by_hand():
    curve = error_curve([0.1, 0.5, 0.5, 0.9], [0, 1, 0, 1])
    np.testing.assert_array_equal(curve.thresholds, [0.1, 0.5, 0.9, np.inf])
    np.testing.assert_array_equal(curve.misses, [0, 0, 1, 2])
    np.testing.assert_array_equal(curve.false_alarms, [2, 1, 0, 0])


@given(data=st.data())
def test_curve_equals_sweep_over_thresholds(data, trial_lists):
    scores, target = data.draw(trial_lists())
    curve = error_curve(scores, target)
    thresholds, miss, alarm = sweep(scores, target)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    np.testing.assert_allclose(curve.miss, miss, atol=1e-15)
    np.testing.assert_allclose(curve.false_alarm, alarm, atol=1e-15)


@given(data=st.data())
def test_curve_equals_sklearn_roc(data, trial_lists):
    scores, target = data.draw(trial_lists())
    curve = error_curve(scores, target)
    alarm, hit, thresholds = roc_curve(target, scores, drop_intermediate=False)  # from infinity down
    np.testing.assert_array_equal(curve.thresholds[::-1], thresholds)
    np.testing.assert_allclose(curve.false_alarm[::-1], alarm, atol=1e-15)
    np.testing.assert_allclose(curve.miss[::-1], 1 - hit, atol=1e-15)


def test_curve_equals_sklearn_det():
    rng = np.random.default_rng(1)
    target = rng.random(2000) < 0.3
    scores = (rng.normal(size=2000) + 2 * target).round(1)
    curve = error_curve(scores, target)
    alarm, miss, thresholds = det_curve(target, scores)  # sklearn leaves out repeated ends
    at = np.searchsorted(curve.thresholds, thresholds)
    np.testing.assert_allclose(curve.false_alarm[at], alarm)
    np.testing.assert_allclose(curve.miss[at], miss)


@given(data=st.data(), rate=st.floats(0, 1))
def test_threshold_at_false_alarm_is_lowest_possible(data, trial_lists, rate):
    scores, target = data.draw(trial_lists())
    threshold = threshold_at_false_alarm(error_curve(scores, target), rate)
    thresholds, _, alarm = sweep(scores, target)
    assert threshold == thresholds[alarm <= rate].min()


@given(data=st.data(), rate=st.floats(0, 1) | st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]))
def test_threshold_at_miss_is_highest_possible(data, trial_lists, rate):
    scores, target = data.draw(trial_lists())
    threshold = threshold_at_miss(error_curve(scores, target), rate)
    thresholds, miss, _ = sweep(scores, target)
    assert threshold == thresholds[miss <= rate].max()
    if rate == 0:
        assert threshold == scores[target].min()


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("threshold", [threshold_at_false_alarm, threshold_at_miss])
def test_rates_outside_0_to_1_are_refused(threshold, rate):
    with pytest.raises(InputError, match="between 0 and 1"):
        threshold(error_curve([0, 1], [0, 1]), rate)


@pytest.mark.parametrize(
    ("scores", "target", "message"),
    [
        ([1.0, 2.0], [1, 1], "no non-target among 2 trials"),
        ([1.0, 2.0], [0, 0], "no target among 2 trials"),
        ([], [], "no target among 0 trials"),
        ([1.0, float("nan")], [1, 0], "score 2 of 2 is nan"),
        ([float("inf"), 1.0], [1, 0], "score 1 of 2 is inf"),
        ([1.0, 2.0], [1], "one score and one label"),
        ([[1.0], [2.0]], [[1], [0]], "one score and one label"),
        ([1.0, 2.0], [1, 2], "true/false or 1/0"),
    ],
)
def test_invalid_trials_are_refused(scores, target, message):
    with pytest.raises(InputError, match=message):
        error_curve(scores, target)


def test_float32_and_float64_agree():
    rng = np.random.default_rng(0)
    target = rng.random(1_000_000) < 0.1
    scores = (rng.normal(size=target.size) + target).astype(np.float32)
    one, other = error_curve(scores, target), error_curve(scores.astype(np.float64), target)
    np.testing.assert_array_equal(one.misses, other.misses)
    np.testing.assert_array_equal(one.thresholds, other.thresholds)


@given(data=st.data(), doubles=st.booleans())
def test_weights_equal_copies_of_trials(data, trial_lists, doubles):
    scores, target = data.draw(trial_lists())
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores))))
    weights[[np.argmax(target), np.argmin(target)]] += 1  # a target and a non-target
    once = error_curve(np.repeat(scores, weights), np.repeat(target, weights))
    curve = error_curve(scores, target, weights.astype(float) / 4 if doubles else weights)
    at = np.searchsorted(curve.thresholds, once.thresholds)
    np.testing.assert_allclose(curve.miss[at], once.miss, atol=1e-12)
    np.testing.assert_allclose(curve.false_alarm[at], once.false_alarm, atol=1e-12)
    assert eer(scores, target, weights) == pytest.approx(eer(np.repeat(scores, weights), np.repeat(target, weights)))


def test_weights_equal_sklearn():
    rng = np.random.default_rng(0)
    target, weights = rng.random(500) < 0.3, rng.random(500)
    scores = (rng.normal(size=500) + target).round(1)
    curve = error_curve(scores, target, weights)
    alarm, hit, _ = roc_curve(target, scores, sample_weight=weights, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_alarm[::-1], alarm, atol=1e-12)
    np.testing.assert_allclose(curve.miss[::-1], 1 - hit, atol=1e-12)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1, -1], "at least 0"), ([1, float("nan")], "at least 0"), (["a", "b"], "at least 0"), ([0, 1], "no non-target")],
)
def test_invalid_weights_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        error_curve([0.0, 1.0], [0, 1], weights)


@given(data=st.data(), rate=st.floats(0, 1))
def test_miss_at_false_alarm(data, trial_lists, rate):
    scores, target = data.draw(trial_lists())
    found = miss_at_false_alarm(error_curve(scores, target), rate)
    accepted = scores >= found.threshold
    assert found.miss == pytest.approx(np.mean(~accepted[target]))
    assert found.false_alarm == pytest.approx(np.mean(accepted[~target]))
    assert found.false_alarm <= rate


@given(data=st.data())
def test_corners_draw_whole_curve(data, trial_lists):
    scores, target = data.draw(trial_lists())
    curve = error_curve(scores, target)
    kept = corners(curve)
    alarm, miss = curve.false_alarm, curve.miss
    for i in range(len(miss)):  # every point lies on the segment between its two corners
        low, high = kept[kept <= i][-1], kept[kept >= i][0]
        cross = (alarm[high] - alarm[low]) * (miss[i] - miss[low]) - (miss[high] - miss[low]) * (alarm[i] - alarm[low])
        assert cross == pytest.approx(0, abs=1e-12)


@given(data=st.data(), kind=st.sampled_from([np.float32, np.float64]))
def test_default_weights_are_one(data, trial_lists, kind):
    scores, target = data.draw(trial_lists())
    scores = np.where(scores == 0, -0.0, scores).astype(kind)
    scores[0] = 0.0  # equals -0.0
    one, other = error_curve(scores, target), SortedTrials(scores, target).curve(np.ones(len(scores), int))
    for name in ("thresholds", "misses", "false_alarms"):
        found, expected = getattr(one, name), getattr(other, name)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert not np.signbit(one.thresholds[one.thresholds == 0]).any()
    assert (one.targets, one.nontargets) == (other.targets, other.nontargets)


def test_scores_that_differ_only_in_float64_are_not_ties():
    scores = np.array([0.99999999, 0.99999998, 0.99999997, 0.999999985])
    assert eer(scores, [1, 0, 0, 1]) == 0
    assert len(error_curve(scores, [1, 0, 0, 1]).thresholds) == 5
