from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, QhullError
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from spkver.metrics import (
    cllr,
    cllr_of,
    convex_hull,
    corners,
    eer_convex_hull,
    equal_error_of_hull,
    error_curve,
    isotonic_map,
    min_cllr,
    min_cllr_of,
)


def by_formula(scores, target):
    """Brümmer & du Preez 2006, equation for Cllr, in float64."""
    scores = scores.astype(np.float64)
    return (np.log2(1 + np.exp(-scores[target])).mean() + np.log2(1 + np.exp(scores[~target])).mean()) / 2


@given(data=st.data())
def test_cllr_equals_formula_and_log_loss(data, trial_lists):
    scores, target = data.draw(trial_lists())
    assert cllr(scores, target) == pytest.approx(by_formula(scores, target), abs=1e-12)
    weights = np.where(target, 1 / target.sum(), 1 / (~target).sum())
    posterior = 1 / (1 + np.exp(-scores.astype(np.float64)))
    expected = log_loss(target, posterior, sample_weight=weights) / np.log(2)
    assert cllr(scores, target) == pytest.approx(expected, abs=1e-9)


@given(data=st.data())
def test_min_cllr_equals_sklearn_isotonic_regression(data, trial_lists):
    scores, target = data.draw(trial_lists())
    weights = np.where(target, 1 / target.sum(), 1 / (~target).sum())  # even odds
    ranks = np.unique(scores, return_inverse=True)[1]  # sklearn takes scores that are very near for equal
    posterior = IsotonicRegression().fit_transform(ranks.astype(np.float64), target, sample_weight=weights)
    with np.errstate(divide="ignore"):
        expected = (-np.log2(posterior[target]).mean() - np.log2(1 - posterior[~target]).mean()) / 2
    assert min_cllr(scores, target) == pytest.approx(expected, abs=1e-9)
    assert 0 <= min_cllr(scores, target) <= min(1, cllr(scores, target)) + 1e-12
    lowest, ratios = isotonic_map(error_curve(scores, target))
    found = ratios[np.searchsorted(lowest, scores, side="right") - 1]
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found, np.log(posterior) - np.log(1 - posterior), atol=1e-9)
    assert (np.diff(ratios) > 0).all()


def weighted(data, trial_lists):
    """Trials with weights, some of them 0; targets and non-targets have positive sums."""
    scores, target = data.draw(trial_lists())
    size = len(scores)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    for kind in (target, ~target):
        weights[np.argmax(kind)] += not weights[kind].any()
    return scores, target, weights


@given(data=st.data())
def test_weights_equal_copies_of_trials(data, trial_lists):
    scores, target, weights = weighted(data, trial_lists)
    once = error_curve(np.repeat(scores, weights), np.repeat(target, weights))
    for unit in (1, 0.25):
        curve = error_curve(scores, target, unit * weights)
        np.testing.assert_array_equal(curve.thresholds, once.thresholds)
        np.testing.assert_array_equal(curve.misses, unit * once.misses)
        np.testing.assert_array_equal(curve.false_alarms, unit * once.false_alarms)
        np.testing.assert_array_equal(corners(curve), corners(once))
        assert min_cllr_of(curve) == pytest.approx(min_cllr_of(once), abs=1e-12)
        assert equal_error_of_hull(curve) == pytest.approx(equal_error_of_hull(once), abs=1e-12)


@given(data=st.data(), seed=st.integers(0, 99), decades=st.sampled_from([0, 1, 9]))
def test_weighted_min_cllr_equals_weighted_isotonic_regression(data, trial_lists, seed, decades):
    scores, target, weights = weighted(data, trial_lists)
    weights = weights * 10.0 ** np.random.default_rng(seed).uniform(-decades, decades, len(weights))
    curve = error_curve(scores, target, weights)
    there = weights > 0
    scores, target, weights = scores[there], target[there], weights[there]
    weights = weights / np.where(target, weights[target].sum(), weights[~target].sum())
    ranks = np.unique(scores, return_inverse=True)[1].astype(np.float64)
    posterior = IsotonicRegression().fit_transform(ranks, target, sample_weight=weights)
    # as `posterior`, but without the loss of 1 - posterior for a target of little weight
    costs = np.zeros(2)
    for pool in np.unique(posterior):
        inside = posterior == pool
        hit, passed = weights[inside & target].sum(), weights[inside & ~target].sum()
        costs += [hit * np.log2(1 + passed / hit) if hit else 0, passed * np.log2(1 + hit / passed) if passed else 0]
    assert min_cllr_of(curve) == pytest.approx(costs.mean(), abs=1e-9)
    assert min_cllr_of(curve) <= min(1, cllr_of(curve)) + 1e-9


@given(data=st.data(), block=st.integers(1, 6))
def test_cllr_does_not_depend_on_block_size(data, trial_lists, block):
    scores, target = data.draw(trial_lists())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spkver.metrics.calibration._BLOCK", block)
        assert cllr(scores, target) == pytest.approx(by_formula(scores, target), abs=1e-12)


@given(data=st.data())
def test_min_cllr_is_invariant_to_monotonic_maps(data, trial_lists):
    scores, target = data.draw(trial_lists())
    ranks = np.unique(scores, return_inverse=True)[1]
    assert min_cllr(ranks, target) == min_cllr(scores, target)


@given(data=st.data())
def test_hull_equals_scipy(data, trial_lists):
    scores, target = data.draw(trial_lists())
    curve = error_curve(scores, target)
    hull = convex_hull(curve)
    points = np.stack([curve.false_alarms, curve.misses], axis=1).astype(float)
    try:
        every = ConvexHull(np.concatenate([points, [[curve.nontargets, curve.targets]]])).vertices
    except QhullError:  # all on one line
        assert hull.tolist() == [0, len(points) - 1]
        return
    corner = (curve.nontargets, curve.targets)  # may be a point of the curve, too
    below = {tuple(points[v]) for v in every if v < len(points) and tuple(points[v]) != corner}
    assert {tuple(points[v]) for v in hull} == below | {tuple(points[0]), tuple(points[-1])}


def test_large_lists():
    rng = np.random.default_rng(0)
    target = rng.random(200_000) < 0.1
    scores = (rng.normal(size=target.size) + 2 * target).astype(np.float32)
    weights = np.where(target, 1 / target.sum(), 1 / (~target).sum())
    posterior = IsotonicRegression().fit_transform(scores.astype(np.float64), target, sample_weight=weights)
    with np.errstate(divide="ignore"):
        expected = (-np.log2(posterior[target]).mean() - np.log2(1 - posterior[~target]).mean()) / 2
    assert min_cllr(scores, target) == pytest.approx(expected, abs=1e-9)
    # log-likelihood ratios of two normal distributions: calibration has nothing to mend
    ratios = 2 * (scores - 1)
    assert min_cllr(ratios, target) == pytest.approx(cllr(ratios, target), abs=2e-3)
    assert eer_convex_hull(scores, target) < min_cllr(scores, target)


def test_values_by_hand():
    assert cllr([0.0, 0.0], [0, 1]) == pytest.approx(1)
    assert min_cllr([1.0, 0.0], [0, 1]) == pytest.approx(1)
    assert min_cllr([0.0, 1.0], [0, 1]) == 0
    # weights: three targets at 0 in one trial
    assert cllr([0.0, 1.0, -1.0], [1, 1, 0], [3, 1, 1]) == pytest.approx(
        cllr([0.0, 0.0, 0.0, 1.0, -1.0], [1, 1, 1, 1, 0])
    )
    assert min_cllr_of(error_curve([0, 1, 2, 3], [0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5])) == pytest.approx(
        min_cllr([0, 1, 2, 3], [0, 1, 0, 1])
    )
