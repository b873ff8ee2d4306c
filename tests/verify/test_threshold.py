from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from spkver import metrics
from spkver.errors import InputError
from spkver.metrics import OperatingPoint
from spkver.trials import Scores, Trials
from spkver.verify import threshold as th

RNG = np.random.default_rng(0)


def make(speakers=12, each=4, shift=2.5, seed=0) -> tuple[Scores, dict[str, str]]:
    """All pairs of recordings of a few speakers, with normally distributed target and non-target scores."""
    names = {f"s{speaker}-{number}": f"s{speaker}" for speaker in range(speakers) for number in range(each)}
    ids = list(names)
    first, second = np.triu_indices(len(ids), 1)
    target = np.array([names[ids[a]] == names[ids[b]] for a, b in zip(first, second)])
    values = np.random.default_rng(seed).normal(size=len(target)) + shift * target
    trials = Trials(pa.array([ids[a] for a in first]), pa.array([ids[b] for b in second]), target)
    return Scores(trials, (values / 6).astype(np.float32)), names


def rates(scores: Scores, threshold: float) -> tuple[float, float]:
    accepted = scores.values >= np.float32(threshold)
    return accepted[~scores.labels].mean(), (~accepted)[scores.labels].mean()


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_threshold_meets_the_rate_and_is_the_best_that_does(rate):
    scores, names = make()
    far, _ = th.choose(scores, th.at_far(rate), names, replicates=20)
    frr, _ = th.choose(scores, th.at_frr(rate), names, replicates=20)
    assert rates(scores, far.threshold) == (far.far.rate, far.frr.rate)
    assert rates(scores, frr.threshold) == (frr.far.rate, frr.frr.rate)
    assert far.far.rate <= rate and frr.frr.rate <= rate
    values = np.unique(scores.values)
    lower = values[np.searchsorted(values, np.float32(far.threshold)) - 1]
    higher = values[np.searchsorted(values, np.float32(frr.threshold)) + 1]
    assert rates(scores, lower)[0] > rate and rates(scores, higher)[1] > rate


def test_at_cost_and_at_eer_agree_with_the_metrics():
    scores, names = make()
    curve = metrics.error_curve(scores.values, scores.labels)
    point = OperatingPoint(0.1, 2, 1)
    assert th.choose(scores, th.at_cost(point), names, replicates=20)[0].threshold == pytest.approx(
        metrics.least_cost(curve, point).threshold
    )
    equal = th.choose(scores, th.at_eer(), names, replicates=20)[0]
    assert equal.threshold == pytest.approx(metrics.equal_error(curve).threshold)
    assert equal.far.rate == pytest.approx(equal.frr.rate, abs=0.03)


def test_intervals_contain_the_value_and_are_at_least_binomial():
    scores, names = make()
    found, _ = th.choose(scores, th.at_far(0.01), names, replicates=100)
    assert found.low <= found.threshold <= found.high and found.speakers == 12
    for rate in (found.far, found.frr):
        exact = binomtest(rate.errors, rate.trials).proportion_ci(0.95, method="exact")
        assert rate.low <= exact.low + 1e-12 and rate.high >= exact.high - 1e-12
        assert rate.low <= rate.rate <= rate.high


def test_rate_without_errors_has_a_positive_upper_limit():
    scores, names = make(shift=30)
    found, _ = th.choose(scores, th.at_far(0.0), names, replicates=20)
    assert found.far.errors == 0 and found.far.high == pytest.approx(1 - 0.025 ** (1 / found.far.trials))


def test_interval_covers_the_true_threshold():
    """On most of 20 random corpora the interval contains the threshold of the distribution, norm.isf(0.05) / 6."""
    from scipy.stats import norm

    held = 0
    for seed in range(20):
        scores, names = make(seed=seed)
        found, _ = th.choose(scores, th.at_far(0.05), names, replicates=60, seed=seed)
        held += found.low <= norm.isf(0.05) / 6 <= found.high
    assert held >= 16


def test_linked_speakers_follow_target_trials():
    scores, names = make()
    own, _ = th.choose(scores, th.at_eer(), names, replicates=50)
    linked, _ = th.choose(scores, th.at_eer(), replicates=50)
    assert linked.speakers == own.speakers == 12
    enrol, test = th.linked_speakers(scores.trials)
    assert np.array_equal(enrol == test, scores.labels)
    chain = Trials(pa.array(["a", "b", "a", "d"]), pa.array(["b", "c", "d", "e"]), np.array([True, True, False, False]))
    enrol, test = th.linked_speakers(chain)
    assert enrol[0] == test[0] == test[1] and len({enrol[0], test[2], test[3]}) == 3


def test_choose_warns_of_few_errors():
    scores, names = make()
    doubts = th.choose(scores, th.at_far(0.001), names, replicates=20)[1]
    assert doubts == [
        "the threshold is based on 1 false accepts among 1,056 non-targets; about 30,000 non-targets are needed "
        "for 30 errors (rule of 30)"
    ]
    assert "far more non-targets" in th.choose(scores, th.at_far(0.0), names, replicates=20)[1][0]
    assert not th.choose(scores, th.at_far(0.1), names, replicates=20)[1]
    assert "false rejects among 72 targets" in th.choose(scores, th.at_eer(), names, replicates=20)[1][-1]


def test_choose_warns_of_intervals_over_two_speakers():
    """Every draw of two speakers with trials of both kinds is the list itself, so that the interval has no width."""
    scores, names = make(speakers=2, each=6)
    assert "at least 3 speakers, there are 2" in th.choose(scores, th.at_eer(), names, replicates=20)[1][0]
    scores, names = make(speakers=3, each=6)
    assert not any("speakers" in line for line in th.choose(scores, th.at_eer(), names, replicates=20)[1])


def test_calibration_is_balanced_logistic_regression():
    scores, names = make(shift=1.5)
    found = th.choose(scores, th.at_eer(), names, replicates=20)[0].calibration
    own = LogisticRegression(C=1e9, class_weight="balanced", tol=1e-10)
    own.fit(scores.values[:, None].astype(float), scores.labels)
    assert found.scale == pytest.approx(own.coef_[0, 0], rel=1e-3)
    assert found.offset == pytest.approx(own.intercept_[0], rel=1e-3)
    assert found.most == pytest.approx(np.log(1 + np.count_nonzero(~scores.labels)))


@pytest.mark.parametrize("criterion", [th.at_far(0.0), th.at_cost(OperatingPoint(1e-6))])
def test_choose_rejects_a_point_that_only_rejecting_all_fulfils(criterion):
    scores, names = make()
    values = scores.values.copy()
    values[np.argmin(scores.labels)] = values.max() + 1  # a non-target above all targets
    top = Scores(scores.trials, values)
    with pytest.raises(InputError, match=r"no threshold gives .* would be rejected"):
        th.choose(top, criterion, names, replicates=20)


def test_choose_rejects_scores_that_are_higher_for_non_targets():
    scores, names = make()
    with pytest.raises(InputError, match=r"targets do not score higher .* change the sign if these are distances"):
        th.choose(Scores(scores.trials, -scores.values), th.at_eer(), names, replicates=20)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rate_outside_0_and_1_is_rejected(rate):
    scores, names = make()
    for criterion in (th.at_far(rate), th.at_frr(rate)):
        with pytest.raises(InputError, match="between 0 and 1"):
            th.choose(scores, criterion, names)


def test_require_cosines_rejects_other_scores():
    scores, _ = make()
    th.require_cosines(scores, "s")
    with pytest.raises(InputError, match=r"s: a score of 7 is not a plain cosine"):
        th.require_cosines(Scores(scores.trials.take(np.arange(1)), np.array([-7], np.float32)), "s")


def test_calibration_is_clipped_by_the_size_of_the_list():
    """To [-log(targets + 1), log(non-targets + 1)], since a list says nothing about rarer events."""
    scores, names = make(speakers=5, each=3)
    found = th.choose(scores, th.at_eer(), names, replicates=5)[0].calibration
    targets, nontargets = np.count_nonzero(scores.labels), np.count_nonzero(~scores.labels)
    assert targets < nontargets
    assert (found.least, found.most) == pytest.approx((-np.log(targets + 1), np.log(nontargets + 1)))


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_interval_contains_the_threshold(monkeypatch, shift):
    """Even if all bootstrap values are on one side of it."""
    scores, names = make()
    own = th.choose(scores, th.at_eer(), names, replicates=5)[0].threshold
    drawn = np.tile([[own + shift, 0.1, 0.1]], (5, 1))[:, None]
    monkeypatch.setattr(metrics, "speaker_bootstrap", lambda *args, **keys: drawn)
    found = th.choose(scores, th.at_eer(), names)[0]
    assert (found.low, found.high) == pytest.approx(sorted([own, own + shift]))


@pytest.mark.parametrize(("errors", "said"), [(29, True), (30, False)])
def test_choose_does_not_warn_with_thirty_errors(errors, said):
    """The target rate is met by exactly this many of 1,056 non-targets."""
    scores, names = make()
    found, doubts = th.choose(scores, th.at_far(errors / 1056), names, replicates=5)
    assert (found.far.errors, found.far.trials) == (errors, 1056)
    assert bool(doubts) == said
