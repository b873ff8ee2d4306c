from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from spkver import metrics
from spkver.errors import InputError
from spkver.scoring.evaluation import evaluate, write_curve
from spkver.trials import Scores, Trials


def scored(values, target):
    names = pa.array([f"u{i}" for i in range(len(values))])
    return Scores(Trials(names, names, target), np.asarray(values, np.float32))


def test_evaluation_equals_metrics():
    rng = np.random.default_rng(0)
    target = rng.random(500) < 0.3
    scores = scored(rng.normal(size=500) + 2 * target, target)
    found = evaluate(scores, ["vox-0.05", "sre08"])
    assert (found.trials, found.targets, found.nontargets) == (500, target.sum(), 500 - target.sum())
    assert found.eer == metrics.eer(scores.values, target)
    assert found.eer_convex_hull == metrics.eer_convex_hull(scores.values, target)
    assert list(found.min_dcf) == ["vox-0.05", "sre08"]
    assert found.min_dcf["vox-0.05"].cost == metrics.min_dcf(scores.values, target, 0.05)
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["min_dcf"]["sre08"]["cost"] == metrics.min_dcf(
        scores.values, target, 0.01, c_miss=10
    )


def test_table():
    found = evaluate(scored([1, 2, 3, 4], np.array([0, 1, 0, 1], bool)))
    assert found.table().splitlines() == [
        "trials                 4  2 targets, 2 non-targets",
        "EER              50.00 %  at threshold 3.0000",
        "minDCF vox-0.01   0.5000  at threshold 4.0000",
        "minDCF vox-0.05   0.5000  at threshold 4.0000",
    ]


def test_reject_all_is_null_in_json():
    found = evaluate(scored([2, 1], np.array([False, True])), ["vox-0.01"])
    assert found.plain()["min_dcf"] == {"vox-0.01": {"cost": 1.0, "threshold": None}}
    assert "rejecting all" in found.table()


def test_invalid_inputs_are_refused():
    with pytest.raises(InputError, match="have no labels"):
        evaluate(scored([1, 2], None))
    with pytest.raises(InputError, match="unknown operating point 'vox'"):
        evaluate(scored([1, 2], np.array([True, False])), ["vox"])


def test_likelihood_ratios_rates_and_primary_costs():
    rng = np.random.default_rng(0)
    target = rng.random(2000) < 0.3
    scores = scored(2 * (rng.normal(size=2000) + 2 * target - 1), target)
    found = evaluate(scores, ["sre16", "sre10"], far=[0.01, 0.1], llr=True)
    costs = [metrics.min_dcf(scores.values, target, p) for p in (0.01, 0.005)]
    assert found.min_dcf["sre16"].cost == pytest.approx(np.mean(costs))
    assert found.cllr == metrics.cllr(scores.values, target) >= found.min_cllr
    for rate, (miss, alarm, threshold) in found.frr.items():
        assert alarm <= rate and miss == np.mean(scores.values[target] < threshold)
    plain = json.loads(json.dumps(found.plain(), allow_nan=False))
    assert plain["frr"]["0.01"]["frr"] == found.frr[0.01].miss
    assert plain["min_dcf"]["sre16"]["threshold"] is None
    for words in ("FRR at FAR 1 %", "actDCF sre10", "Cllr", "mean of several operating points"):
        assert words in found.table()
    assert all(found.act_dcf[name] >= found.min_dcf[name].cost for name in found.act_dcf)


def test_a_primary_cost_is_the_mean_of_its_points():
    rng = np.random.default_rng(0)
    target = rng.random(3000) < 0.3
    scores = scored(3 * (rng.normal(size=3000) + 3 * target - 1.5), target)
    found = evaluate(scores, ["sre12"], llr=True)
    curve = metrics.error_curve(scores.values, target)
    one, other = (metrics.OperatingPoint(p) for p in (0.01, 0.001))
    for cost, of in ((found.act_dcf["sre12"], metrics.actual_cost), (found.min_dcf["sre12"].cost, metrics.least_cost)):
        assert cost == pytest.approx((of(curve, one).cost + of(curve, other).cost) / 2)
    assert abs(metrics.actual_cost(curve, one).cost - metrics.actual_cost(curve, other).cost) > 0.05


def test_trials_of_weight_zero_are_left_out(tmp_path):
    """Numbers and the written curve equal those of the trials with positive weight."""
    rng = np.random.default_rng(0)
    target, weights = rng.random(300) < 0.3, rng.integers(0, 2, 300)
    scores = scored(rng.normal(size=300) + target, target)
    there = weights > 0
    found, expected = evaluate(scores, llr=True, weights=weights), evaluate(scores.take(there), llr=True)
    assert {**found.plain(), "trials": 0} == {**expected.plain(), "trials": 0}
    assert found.min_cllr <= found.cllr
    for name, curve in (
        ("a", metrics.error_curve(scores.values, target, weights)),
        ("b", metrics.error_curve(scores.values[there], target[there])),
    ):
        write_curve(tmp_path / name, curve)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


def test_curve_file(tmp_path):
    rng = np.random.default_rng(0)
    target = rng.random(300) < 0.3
    curve = metrics.error_curve((rng.normal(size=300) + target).astype(np.float32), target)
    write_curve(tmp_path / "c.csv", curve)
    table = np.genfromtxt(tmp_path / "c.csv", delimiter=",", names=True)
    np.testing.assert_allclose(
        np.trapezoid(table["miss"], table["false_alarm"]), np.trapezoid(curve.miss, curve.false_alarm)
    )
    assert table["threshold"][-1] == np.inf
