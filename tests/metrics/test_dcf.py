from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver.errors import InputError
from spkver.metrics import (
    OPERATING_POINTS,
    OperatingPoint,
    actual_cost,
    error_curve,
    least_cost,
    min_dcf,
    operating_point,
    operating_points,
)


def brute_force(scores, target, p_target, c_miss, c_fa):
    """Cost at thresholds at, between and around all scores; normalised by the better of accept-all and reject-all."""
    distinct = np.unique(scores.astype(np.float64))
    thresholds = np.concatenate([distinct, (distinct[1:] + distinct[:-1]) / 2, [-np.inf, np.inf]])
    costs = []
    for threshold in thresholds:
        accepted = scores >= threshold
        costs.append(
            p_target * c_miss * np.mean(~accepted[target]) + (1 - p_target) * c_fa * np.mean(accepted[~target])
        )
    return min(costs) / min(p_target * c_miss, (1 - p_target) * c_fa)


@given(
    data=st.data(),
    p_target=st.sampled_from([0.001, 0.01, 0.05, 0.5, 0.9]),
    c_miss=st.sampled_from([0.5, 1, 10]),
    c_fa=st.sampled_from([1, 3]),
)
def test_min_dcf_equals_brute_force(data, trial_lists, p_target, c_miss, c_fa):
    scores, target = data.draw(trial_lists())
    expected = brute_force(scores, target, p_target, c_miss, c_fa)
    found = min_dcf(scores, target, p_target, c_miss, c_fa)
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0 <= found <= 1


@given(data=st.data())
def test_threshold_gives_cost_in_any_order_of_trials(data, trial_lists):
    scores, target = data.draw(trial_lists())
    point = OperatingPoint(0.05)
    best = least_cost(error_curve(scores, target), point)
    accepted = scores >= best.threshold
    cost = (0.05 * np.mean(~accepted[target]) + 0.95 * np.mean(accepted[~target])) / 0.05
    assert best.cost == pytest.approx(cost, abs=1e-12)
    order = data.draw(st.permutations(range(len(scores))))
    assert least_cost(error_curve(scores[order], target[order]), point) == best


@given(data=st.data(), block=st.integers(1, 6), p_target=st.sampled_from([0.05, 0.5, 0.9]))
def test_least_cost_does_not_depend_on_block_size(data, trial_lists, block, p_target):
    curve, point = error_curve(*data.draw(trial_lists())), OperatingPoint(p_target)
    whole = least_cost(curve, point)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spkver.metrics.dcf._BLOCK", block)
        assert least_cost(curve, point) == whole


@pytest.mark.parametrize("block", [1, 2, 3])
def test_lowest_threshold_of_equal_costs(monkeypatch, block):
    monkeypatch.setattr("spkver.metrics.dcf._BLOCK", block)
    curve = error_curve([1.0, 1.0, 2.0, 2.0], [1, 0, 1, 0])  # at even odds, all three points cost 1
    assert least_cost(curve, OperatingPoint(0.5)) == (1.0, 1.0)


def test_actual_cost_accepts_a_score_at_the_threshold():
    assert actual_cost(error_curve([0.0, -1.0], [1, 0]), OperatingPoint(0.5)) == (0.0, 0.0)
    assert actual_cost(error_curve([0.0, 1.0], [0, 1]), OperatingPoint(0.5)) == (1.0, 0.0)


def test_values_by_hand():
    # one of four targets below the only false alarm: rejecting up to it costs a miss rate of 1/4
    scores, target = np.array([0.1, 0.2, 0.6, 0.7, 0.8, 0.9]), np.array([0, 1, 0, 1, 1, 1])
    assert min_dcf(scores, target, 0.01) == pytest.approx(0.25)
    # a miss ten thousand times dearer: one of two non-targets is let in, over accepting both
    assert min_dcf(scores, target, 0.01, c_miss=1e4) == pytest.approx(0.5)


def test_rejecting_all_bounds_min_dcf():
    assert min_dcf([1.0, 0.0], [0, 1], 0.01) == 1.0


def test_operating_points_by_name():
    assert operating_point("vox-0.05").p_target == 0.05
    assert operating_point("vox-0.01") == OPERATING_POINTS["vox-0.01"] == OperatingPoint(0.01, 1.0, 1.0)
    with pytest.raises(InputError, match=r"did you mean 'vox-0\.01'"):
        operating_point("vox-0.1")


@pytest.mark.parametrize("bad", [(0.0, 1, 1), (1.0, 1, 1), (0.1, 0, 1), (0.1, 1, -1), (float("nan"), 1, 1)])
def test_invalid_operating_points_are_refused(bad):
    with pytest.raises(InputError, match="p_target"):
        min_dcf([0.0, 1.0], [0, 1], *bad)


@given(data=st.data(), p_target=st.sampled_from([0.01, 0.5, 0.9]), c_miss=st.sampled_from([1, 10]))
def test_actual_cost_equals_definition(data, trial_lists, p_target, c_miss):
    scores, target = data.draw(trial_lists())
    threshold = -np.log(p_target / (1 - p_target) * c_miss)
    accepted = scores >= threshold
    cost = p_target * c_miss * np.mean(~accepted[target]) + (1 - p_target) * np.mean(accepted[~target])
    curve, point = error_curve(scores, target), OperatingPoint(p_target, c_miss)
    found = actual_cost(curve, point)
    assert found.threshold == pytest.approx(threshold, abs=1e-12)
    assert found.cost == pytest.approx(cost / min(p_target * c_miss, 1 - p_target), abs=1e-12)
    assert found.cost >= least_cost(curve, point).cost - 1e-12


def test_primary_costs():
    for name in ("sre16", "sre18-cts", "sre19-cts"):  # by NIST's plans
        assert operating_points(name) == (OperatingPoint(0.01), OperatingPoint(0.005))
    assert [point.p_target for point in operating_points("sre12")] == [0.01, 0.001]
    assert operating_points("sre10") == (OperatingPoint(0.001),)
    with pytest.raises(InputError, match="did you mean 'sre16'"):
        operating_points("sre_16")
