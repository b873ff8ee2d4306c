from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from spkver.errors import InputError
from spkver.metrics import (
    SortedTrials,
    equal_error,
    error_curve,
    holm,
    interval,
    p_value,
    speaker_bootstrap,
    student_interval,
)


def rate(curve):
    return equal_error(curve).rate


def drawn_corpus(rng, speakers=40, utterances=4):
    """Scores of all pairs of utterances, with their label and speakers; some speakers are harder than others."""
    speaker = np.repeat(np.arange(speakers), utterances)
    spread = rng.gamma(4, 0.1, size=speakers)
    x = rng.normal(size=(speakers, 5))[speaker] + spread[speaker, None] * rng.normal(size=(len(speaker), 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    a, b = np.triu_indices(len(x), 1)
    return (x[a] * x[b]).sum(axis=1), speaker[a] == speaker[b], speaker[a], speaker[b]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40))
def test_weights_equal_copies_of_trials(trials):
    scores, target, weights = (np.array(column) for column in zip(*trials))
    copies = np.repeat(np.arange(len(scores)), weights)
    if len(set(target[copies])) < 2:
        return
    found, wanted = SortedTrials(scores, target).curve(weights), error_curve(scores[copies], target[copies])
    for name in ("thresholds", "misses", "false_alarms"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert (found.targets, found.nontargets) == (wanted.targets, wanted.nontargets)
    assert rate(found) == pytest.approx(rate(wanted), abs=1e-12)


def test_trial_weights_are_products_of_speaker_draws():
    """The weight of a target trial is the draws of its speaker, of a non-target trial the product for both speakers."""
    enrol, test = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 1, 2, 1, 2, 0])
    seen = []

    def note(curve):
        steps = np.diff(curve.misses) - np.diff(curve.false_alarms)  # the weight at each score
        seen.append(dict(zip(curve.thresholds.tolist(), steps.tolist())))
        return 0.0

    speaker_bootstrap([np.arange(6.0)], enrol == test, enrol, test, [note], replicates=40, seed=5)
    assert len(seen) == 40
    for weights in seen:
        drawn = [weights.get(float(speaker), 0) for speaker in range(3)]
        assert sum(drawn) == 3
        pairs = {3.0: drawn[0] * drawn[1], 4.0: drawn[1] * drawn[2], 5.0: drawn[2] * drawn[0]}
        assert {score: weights.get(score, 0) for score in pairs} == pairs
    assert max(weights.get(0.0, 0) for weights in seen) == 2


def test_student_interval_equals_scipy():
    values = [0.031, 0.027, 0.035, 0.030]
    mean, spread = np.mean(values), scipy.stats.sem(values)
    expected = scipy.stats.t.interval(0.9, 3, mean, spread)
    assert student_interval(values, 0.9) == pytest.approx(expected, rel=1e-12)
    assert student_interval([1.0, 3.0]) == pytest.approx((2 - 12.706204736, 2 + 12.706204736))  # t(0.975, 1)
    assert student_interval([0.03]) is None


def test_systems_and_seeds_share_draws():
    scores, target, enrol, test = drawn_corpus(np.random.default_rng(0))
    again = speaker_bootstrap([scores, scores], target, enrol, test, [rate], replicates=30, seed=3)
    np.testing.assert_array_equal(again[:, 0], again[:, 1])
    np.testing.assert_array_equal(
        again[:, :1], speaker_bootstrap([scores], target, enrol, test, [rate], replicates=30, seed=3)
    )
    names = np.array([f"speaker {i}" for i in range(40)])
    named = speaker_bootstrap([scores], target, names[enrol], names[test], [rate], replicates=30, seed=3)
    assert named.shape == (30, 1, 1)


def test_bootstrap_spread_matches_spread_over_corpora():
    """The bootstrap standard deviation of one corpus, compared with that over corpora of other speakers."""
    rng = np.random.default_rng(1)
    corpora = [drawn_corpus(rng) for _ in range(120)]
    true = np.std([rate(error_curve(scores, target)) for scores, target, *_ in corpora])
    told = np.mean(
        [
            speaker_bootstrap([scores], target, enrol, test, [rate], replicates=100).std()
            for scores, target, enrol, test in corpora[:10]
        ]
    )
    assert 0.75 * true < told < 1.5 * true
    # an interval over trials, drawn as if they were independent, is far too narrow
    scores, target, *_ = corpora[0]
    drawn = rng.multinomial(len(scores), np.full(len(scores), 1 / len(scores)), size=100)
    trials = SortedTrials(scores, target)
    assert np.std([rate(trials.curve(weights)) for weights in drawn]) < 0.6 * true


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_p_value(seed):
    values = np.random.default_rng(seed).normal(size=99)
    assert p_value(values) == p_value(-values)
    assert p_value(np.abs(values) + 1e-9) == 2 / 100
    assert p_value(np.zeros(9)) == 1
    low, high = interval(values, 0.9)
    assert np.mean((values >= low) & (values <= high)) == pytest.approx(0.9, abs=0.02)


def test_holm():
    # by hand: 3 * 0.01; 2 * 0.03; 0.04 is raised to the one before
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9, 0.4]), [1, 1, 1])
    np.testing.assert_allclose(holm([0.02]), [0.02])


def test_invalid_inputs_are_refused():
    scores, target, enrol, test = drawn_corpus(np.random.default_rng(0), speakers=3)
    with pytest.raises(InputError, match="one label and two speakers"):
        speaker_bootstrap([scores], target, enrol[1:], test, [rate])
    with pytest.raises(InputError, match="at least two"):
        speaker_bootstrap([scores], target, 0 * enrol, 0 * test, [rate])
    with pytest.raises(InputError, match="target trials, the first in row 1, have two speakers"):
        speaker_bootstrap([scores], target, enrol + 10 * (np.arange(len(enrol)) == 0), test, [rate])
    with pytest.raises(InputError, match="must be finite"):
        speaker_bootstrap([scores * np.nan], target, enrol, test, [rate])
