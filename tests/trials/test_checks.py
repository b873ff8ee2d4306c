from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spkver.scoring.calibration import fit_affine
from spkver.trials import Scores, check, falling
from spkver.trials.checks import Cost


def test_check_counts_repeated_and_contradicting_trials(trials):
    assert check(trials(["a b", "a c", "b a"], [1, 0, 1])) == []
    odd = check(trials(["a b", "c c", "a b", "a d", "a b"], [1, 1, 0, 0, 1]))
    assert odd == [
        "2 of 5 trials, first 'a b', given more than once",
        "1 of 5 trials, first 'c c', of a recording with itself",
        "1 of 5 trials, first 'a b', labelled both target and nontarget",
    ]


def test_check_against_speakers_and_training_data(trials):
    listed = trials(["a b", "a c", "b c", "a x"], [1, 1, 0, 0])
    speakers = {"a": "p", "b": "p", "c": "q", "d": "r"}
    assert check(listed, speakers) == [
        "1 of 4 trials, first 'a x', with an id whose speaker is not known",
        "1 of 4 trials, first 'a c', labelled against their speakers",
    ]
    found = check(trials(["a b", "a c"], [1, 0]), speakers, training={"z": "q", "y": "r"})
    assert found == ["1 of 2 speakers, first 'q', are also in the training data"]
    assert check(trials(["a b", "a c"], [1, 0]), speakers, training={"z": "s"}) == []


def test_check_warns_of_too_few_trials_for_an_operating_point(trials):
    listed = trials([f"a{i} b" for i in range(100)], [i < 40 for i in range(100)])
    assert check(listed, costs={"even": Cost(1, 1)}) == []
    assert check(listed, costs={"just enough": Cost(1, 2)}) == []
    assert len(check(listed, costs={"one too few": Cost(1, 2.05)})) == 1
    assert check(listed, costs={"p": Cost(1, 99)}) == [
        "60 non-targets are too few for p: at a cost of 1, 2970 are needed for 30 errors"
    ]


def scored(trials, values, target):
    return Scores(trials([f"a{row} b" for row in range(len(values))], target), np.array(values, float))


def test_falling_warns_of_distances(trials):
    assert falling(scored(trials, [1, 2, 3], [0, 0, 1])) is None
    doubt = falling(scored(trials, [0.25, 0.35, 0.9], [1, 1, 0]))
    assert doubt.startswith("targets do not score higher than non-targets (means 0.3 and 0.9)")
    assert falling(scored(trials, [1, 1], [0, 1]))  # scores without information
    for target in (None, [0, 0], [1, 1]):
        assert falling(scored(trials, [2, 1], target)) is None


@given(values=hnp.arrays(float, 12, elements=st.integers(-9, 9).map(lambda i: i / 4)), targets=st.integers(1, 11))
def test_falling_agrees_with_the_slope_of_a_calibration(trials, values, targets):
    target = np.arange(12) < targets
    gap = values[target].mean() - values[~target].mean()
    if abs(gap) < 1e-6:
        return
    for prior in (0.5, 0.01):
        slope = fit_affine(values[:, None], target, prior).weights[0]
        assert (slope < 0) == bool(falling(scored(trials, values, target))) == (gap < 0)


def test_falling_compares_means_in_float64(trials):
    values = [0.99999999, 0.99999998, 0.99999997, 0.999999985]
    assert falling(scored(trials, values, [1, 0, 0, 1])) is None
    assert falling(scored(trials, values, [0, 1, 1, 0]))
