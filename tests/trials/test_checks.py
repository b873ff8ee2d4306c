from __future__ import annotations

from spkver.trials import (
    check,
)
from spkver.trials.checks import Cost


def test_check(trials):
    assert check(trials(["a b", "a c", "b a"], [1, 0, 1])) == []
    odd = check(trials(["a b", "c c", "a b", "a d", "a b"], [1, 1, 0, 0, 1]))
    assert odd == [
        "2 of 5 trials, first 'a b', given more than once",
        "1 of 5 trials, first 'c c', of a recording with itself",
        "1 of 5 trials, first 'a b', labelled both target and nontarget",
    ]


def test_against_speakers_and_training(trials):
    listed = trials(["a b", "a c", "b c", "a x"], [1, 1, 0, 0])
    speakers = {"a": "p", "b": "p", "c": "q", "d": "r"}
    assert check(listed, speakers) == [
        "1 of 4 trials, first 'a x', with an id whose speaker is not known",
        "1 of 4 trials, first 'a c', labelled against their speakers",
    ]
    found = check(trials(["a b", "a c"], [1, 0]), speakers, training={"z": "q", "y": "r"})
    assert found == ["1 of 2 speakers, first 'q', are among the training's"]
    assert check(trials(["a b", "a c"], [1, 0]), speakers, training={"z": "s"}) == []


def test_too_few_for_an_operating_point(trials):
    listed = trials([f"a{i} b" for i in range(100)], [i < 40 for i in range(100)])
    assert check(listed, costs={"even": Cost(1, 1)}) == []
    assert check(listed, costs={"just enough": Cost(1, 2)}) == []
    assert len(check(listed, costs={"one too few": Cost(1, 2.05)})) == 1
    assert check(listed, costs={"p": Cost(1, 99)}) == [
        "60 non-targets are too few for p: 2970 or more make 30 errors of a cost of 1"
    ]
