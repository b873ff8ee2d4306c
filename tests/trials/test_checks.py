from __future__ import annotations

from spkver.trials import (
    check,
)


def test_check(trials):
    assert check(trials(["a b", "a c", "b a"], [1, 0, 1])) == []
    odd = check(trials(["a b", "c c", "a b", "a d", "a b"], [1, 1, 0, 0, 1]))
    assert odd == [
        "2 of 5 trials, first 'a b', given more than once",
        "1 of 5 trials, first 'c c', of a recording with itself",
        "1 of 5 trials, first 'a b', labelled both target and nontarget",
    ]
