from __future__ import annotations

import math
import re

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from spkver.metrics import error_curve, min_dcf
from spkver.page import probit
from spkver.report import plots
from spkver.report.det import TICKS, thinned
from spkver.report.measured import LOG_ODDS, bayes_errors, histogram, measure
from spkver.trials import Scores, Trials


def scores_of(values, labels):
    ids = pa.array([str(i) for i in range(len(values))])
    return Scores(Trials(ids, ids, np.asarray(labels)), np.asarray(values, np.float32))


@pytest.fixture(scope="module")
def llrs():
    """Calibrated log-likelihood ratios of two normal distributions."""
    rng = np.random.default_rng(0)
    labels = rng.random(30_000) < 0.3
    return scores_of(rng.normal(size=30_000) * 2 + np.where(labels, 2, -2), labels)


def test_bayes_errors_equal_costs_at_every_prior(llrs):
    found = bayes_errors(error_curve(llrs.values, llrs.labels))
    for place in range(0, len(LOG_ODDS), 7):
        p_target = expit(LOG_ODDS[place])
        assert found.least[place] == pytest.approx(min_dcf(llrs.values, llrs.labels, p_target), abs=1e-12)
        accepted = llrs.values >= -LOG_ODDS[place]
        cost = p_target * np.mean(~accepted[llrs.labels]) + (1 - p_target) * np.mean(accepted[~llrs.labels])
        assert found.actual[place] == pytest.approx(cost / min(p_target, 1 - p_target))
    assert (found.actual >= found.least - 1e-12).all()
    assert np.abs(found.actual - found.least)[20:41].max() < 0.02  # they are calibrated


def test_histograms_count_every_trial(llrs):
    found = histogram(llrs)
    assert found.targets.sum() == pytest.approx(1) and found.nontargets.sum() == pytest.approx(1)
    inside = llrs.values[llrs.labels]
    expected = np.mean((inside >= found.edges[30]) & (inside < found.edges[31]))
    assert found.targets[30] == pytest.approx(expected)
    assert histogram(scores_of([1, 1], [True, False])).targets.sum() == 1


def test_worst_errors_of_equal_score_are_in_list_order():
    values, labels = [5, 5, 9, 1, 1, 0, 3, 3], [0, 0, 0, 1, 1, 1, 1, 0]
    found = measure(scores_of(values, np.array(labels, bool)), ["vox-0.05"], threshold=3, worst=2)
    assert found.false_accepts.tolist() == [2, 0] and found.false_rejects.tolist() == [5, 3]


@pytest.mark.parametrize("size", [50, 5000, 100_000])
def test_thinned_curve_equals_curve(size):
    rng = np.random.default_rng(size)
    labels = rng.random(size) < 0.2
    curve = error_curve((rng.normal(size=size) + 2 * labels).astype(np.float32), labels)
    alarm, miss = thinned(curve, TICKS[0], TICKS[-1], 500)
    assert len(alarm) <= 2002 and (np.diff(alarm) <= 0).all() and (np.diff(miss) >= 0).all()
    inside = (
        (curve.false_alarm >= TICKS[0]) & (curve.miss >= TICKS[0]) & (curve.false_alarm <= 0.8) & (curve.miss <= 0.8)
    )
    x, y = probit(alarm), probit(miss)
    # no point of the curve is farther from the drawn one than a step, along either axis
    across, up = probit(curve.false_alarm[inside]), probit(curve.miss[inside])
    step = np.ptp(probit([TICKS[0], TICKS[-1]])) / 499
    for a, b in zip(across[:: max(1, len(across) // 300)], up[:: max(1, len(up) // 300)]):
        ends = np.stack([x[:-1], y[:-1]]), np.stack([x[1:], y[1:]])
        along = ends[1] - ends[0]
        point = np.array([[a], [b]])
        share = np.clip(((point - ends[0]) * along).sum(0) / np.maximum((along**2).sum(0), 1e-30), 0, 1)
        assert np.min(np.hypot(*(ends[0] + share * along - point))) < step


def test_primary_costs_can_be_named(llrs):
    found = measure(llrs, ["sre18-cts"])
    assert set(found.marks) == {"eer"} and np.isnan(found.evaluation.min_dcf["sre18-cts"].threshold)


def test_operating_points_are_at_their_log_odds(llrs):
    """P(target) 0.01 is at log(0.01 / 0.99), not at log(0.01)."""
    text = str(plots.bayes({"one": measure(llrs, ["vox-0.01"])}, llr=True))
    width = float(re.search(r'class="inside"[^>]* width="([\d.]+)"', text)[1])
    places = sorted(float(at) for at in re.findall(r'class="rule" d="M([\d.]+) ', text))
    odds = [math.log(p_target / (1 - p_target)) for p_target in (0.01, 0.05)]
    expected = [width * (one - LOG_ODDS[0]) / (LOG_ODDS[-1] - LOG_ODDS[0]) for one in odds]
    assert places == pytest.approx(expected, abs=0.06)


def test_histogram_of_near_scores_has_bins_for_them():
    values = 0.99 + 1e-10 * np.arange(100)
    found = histogram(Scores(scores_of(values, np.arange(100) % 2 == 0).trials, values))
    assert found.edges[-1] - found.edges[0] == pytest.approx(1e-8, rel=0.05)
    assert np.count_nonzero(found.targets) > 10
    assert found.targets.sum() == pytest.approx(1) and found.nontargets.sum() == pytest.approx(1)
