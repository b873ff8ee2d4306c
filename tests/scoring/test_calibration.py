from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from spkver import metrics
from spkver.errors import InputError
from spkver.scoring.calibration import (
    Affine,
    Steps,
    calibrate,
    cross_validated,
    fit_affine,
    fit_isotonic,
    quality_of,
    read_map,
    stacked,
    write_map,
)
from spkver.trials import Scores, Trials, read_labelled, read_scores, write_scores, write_trials


def drawn(count=3000, inputs=1, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.random(count) < 0.2
    return rng.normal(size=(count, inputs)) * 0.1 + 0.2 * target[:, None] + 0.3, target


@pytest.mark.parametrize("prior", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("inputs", [1, 3])
def test_affine_equals_sklearn_logistic_regression(prior, inputs):
    values, target = drawn(inputs=inputs)
    found = fit_affine(values, target, prior)
    share = np.where(target, prior / target.sum(), (1 - prior) / (~target).sum())
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000, solver="newton-cg")
    theirs.fit(10 * values, target, sample_weight=share * len(target))
    np.testing.assert_allclose(found.weights, 10 * theirs.coef_[0], rtol=1e-3)
    assert found.offset == pytest.approx(theirs.intercept_[0] - np.log(prior / (1 - prior)), rel=1e-3)


def test_ratios_of_normal_distributions():
    """The log-likelihood ratio of N(d, 1) to N(0, 1) at x is d x - d²/2; it is recovered from mapped scores."""
    rng = np.random.default_rng(0)
    target = np.arange(400_000) % 4 == 0
    x = rng.normal(size=target.size) + 2 * target
    found = fit_affine((0.05 * x + 0.6)[:, None], target)
    ratios = found((0.05 * x + 0.6)[:, None])
    np.testing.assert_allclose(ratios, 2 * x - 2, atol=0.15)
    assert metrics.cllr(ratios, target) == pytest.approx(metrics.min_cllr(x, target), abs=1e-3)
    point = metrics.OperatingPoint(0.05)
    curve = metrics.error_curve(ratios, target)
    assert metrics.actual_cost(curve, point).cost == pytest.approx(metrics.least_cost(curve, point).cost, abs=0.01)


@settings(max_examples=30)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100), seed=st.integers(0, 20))
def test_fit_is_invariant_to_affine_maps(scale, shift, seed):
    values, target = drawn(300, seed=seed)
    one, other = fit_affine(values, target), fit_affine(scale * values + shift, target)
    np.testing.assert_allclose(one(values), other(scale * values + shift), atol=2e-3)


def test_separable_scores_stay_finite():
    values, target = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([False, False, True, True])
    ratios = fit_affine(values, target)(values)
    assert np.isfinite(ratios).all() and (np.diff(ratios) > 0).all()
    assert np.isfinite(fit_isotonic(values, target)(values)).all()


def test_isotonic_equals_sklearn():
    values, target = drawn(500)
    found = fit_isotonic(values, target)
    low, high = values.min(), values.max()
    x = np.concatenate([values[:, 0], [low, low, high, high]])
    y = np.concatenate([target, [1, 0, 1, 0]])
    weights = np.where(y, 1 / y.sum(), 1 / (1 - y).sum())
    posterior = IsotonicRegression().fit_transform(x, y, sample_weight=weights)[: len(values)]
    np.testing.assert_allclose(found(values), np.log(posterior / (1 - posterior)), atol=1e-5)
    assert metrics.cllr(found(values), target) < metrics.cllr(fit_affine(values, target)(values), target)
    assert found(np.array([[-9.0], [9.0]])).tolist() == [found(values).min(), found(values).max()]


def test_fusion_improves_on_each_system():
    values, target = drawn(20_000, inputs=2)
    fused = metrics.min_cllr(fit_affine(values, target)(values), target)
    assert fused < min(metrics.min_cllr(values[:, i], target) for i in range(2)) - 0.02


def test_cross_validation_leaves_out_both_speakers():
    rng = np.random.default_rng(0)
    enrol, test = rng.integers(12, size=(2, 2000))
    target = enrol == test
    values = rng.normal(size=(2000, 1)) + target[:, None]
    seen = []

    def fit(inputs, labels):
        rows = np.searchsorted(np.sort(values[:, 0]), inputs[:, 0])
        seen.append(set(np.argsort(values[:, 0])[rows].tolist()))
        return Affine(np.array([1.0]), float(len(seen)))  # says which map was used

    ratios = cross_validated(values, target, enrol, test, fit, folds=4)
    number = np.rint(ratios - values[:, 0]).astype(int) - 1
    for trial, which in enumerate(number):
        speakers = {int(side[row]) for row in seen[which] for side in (enrol, test)}
        assert {enrol[trial], test[trial]}.isdisjoint(speakers)
        if trial > 30:
            break
    assert len(seen) == 10
    real = cross_validated(values, target, enrol, test, fit_affine, folds=4)
    assert metrics.cllr(real, target) < 1
    for folds in (2, 13):
        with pytest.raises(InputError, match="folds"):
            cross_validated(values, target, enrol, test, fit_affine, folds=folds)


def test_quality_of_both_sides():
    scores = Scores(Trials(pa.array(["a", "c"]), pa.array(["b", "b"])), np.zeros(2, np.float32))
    table = pa.table({"id": ["a", "b", "c"], "seconds": [1.0, 10.0, 100.0], "norm": [3, 2, 1]})
    np.testing.assert_allclose(quality_of(scores, table, "seconds"), np.log([[1, 10], [10, 100]]))
    np.testing.assert_array_equal(quality_of(scores, table, "norm"), [[2, 3], [1, 2]])
    assert stacked([scores, scores], [quality_of(scores, table, "norm")]).shape == (2, 4)
    with pytest.raises(InputError, match="no norm of 'c'"):
        quality_of(scores, table.slice(0, 2), "norm")
    with pytest.raises(InputError, match="no column 'x'"):
        quality_of(scores, table, "x")


def test_calibrations_are_written_and_read(tmp_path):
    values, target = drawn(300)
    for learnt in (fit_affine(values, target), fit_isotonic(values, target)):
        write_map(tmp_path / "m.json", learnt)
        np.testing.assert_array_equal(read_map(tmp_path / "m.json")(values), learnt(values))
        with pytest.raises(InputError, match="got 2"):
            learnt(np.zeros((3, 2)))
    for text in ("{}", "[1]", '{"kind": "affine", "weights": [1, null], "offset": 0}', '{"kind": "steps"}'):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(InputError, match="not a calibration"):
            read_map(tmp_path / "m.json")


def test_invalid_inputs_are_refused():
    values, target = drawn(100)
    for prior in (0, 1, float("nan")):
        with pytest.raises(InputError, match="the prior must be"):
            fit_affine(values, target, prior)
    with pytest.raises(InputError, match="targets and non-targets; one kind is missing"):
        fit_affine(values, np.ones(100, bool))
    with pytest.raises(InputError, match="input 2 has the same value"):
        fit_affine(np.column_stack([values, np.ones(100)]), target)
    with pytest.raises(InputError, match="one score"):
        fit_isotonic(np.zeros((100, 2)), target)


def test_near_scores_keep_distinct_ratios():
    rng = np.random.default_rng(0)
    speakers = np.arange(300) % 10
    target = rng.random(300) < 0.5
    near = 0.99 + 1e-9 * (rng.permutation(300) + 300 * target)[:, None]  # no two are the same, all but in float32
    for learn in (fit_affine, fit_isotonic):
        assert len(np.unique(learn(near, target)(near))) > 1
    assert len(np.unique(Affine(np.array([1.0]), 0.0)(near))) == 300
    assert len(np.unique(Steps(np.sort(near[:, 0]), np.sort(near[:, 0]))(near))) == 300
    folded = cross_validated(near, target, speakers, speakers, lambda *_: Affine(np.array([1.0]), 0.0), folds=3)
    assert len(np.unique(folded)) == 300


@pytest.fixture
def score_files(tmp_path):
    """Two systems on two lists, without labels, and the lists with labels."""
    for name, seed in (("dev", 0), ("test", 1)):
        values, target = drawn(400, inputs=2, seed=seed)
        trials = Trials(pa.array([f"e{i}" for i in range(400)]), pa.array([f"t{i}" for i in range(400)]), target)
        write_trials(tmp_path / f"{name}.trials", trials)
        for system in range(2):
            write_scores(tmp_path / f"{name}{system}", Scores(Trials(trials.enrol, trials.test), values[:, system]))
    return tmp_path


def test_files_are_fused_and_the_calibration_is_stored(score_files):
    systems, train = ([score_files / f"{name}{system}" for system in range(2)] for name in ("test", "dev"))
    out, saved = score_files / "out", score_files / "map.json"
    count = calibrate(systems, out, train=train, train_trials=score_files / "dev.trials", prior=0.2, save=saved)
    dev = [read_labelled(path, score_files / "dev.trials") for path in train]
    expected = fit_affine(stacked(dev), dev[0].labels, prior=0.2)(stacked([read_scores(path) for path in systems]))
    assert count == 400
    np.testing.assert_allclose(read_scores(out).values, expected, rtol=1e-6)
    first = out.read_text()
    calibrate(systems, out, load=saved)
    assert out.read_text() == first


def test_arguments_of_calibrate_that_do_not_fit_together(score_files):
    systems, out = [score_files / "test0"], score_files / "out"
    for arguments, message in (
        ({}, "one of train, load and folds"),
        ({"folds": 3, "load": score_files / "x"}, "one of train, load and folds"),
        ({"folds": 3}, "add speakers"),
        ({"train": [score_files / "dev0"] * 2}, "one train file for each score file"),
        ({"train": [score_files / "dev0"], "quality": ["x"], "train_quality": ["x"]}, "expected TABLE:COLUMN"),
    ):
        with pytest.raises(InputError, match=message):
            calibrate(systems, out, **arguments)
    assert not out.exists()
