"""Scores with the labels of a trial list."""

from __future__ import annotations

from collections.abc import Callable

from spkver.files import StrPath
from spkver.trials.checks import falling
from spkver.trials.files import read_scores, read_trials
from spkver.trials.table import Scores, Trials, join


def read_labelled(
    path: StrPath,
    trials: StrPath | Trials | None = None,
    *,
    name: object = "",
    say: Callable[[str], None] | None = None,
) -> Scores:
    """Read scores, with the labels and in the order of a trial list if given.

    trials: the list, or its file; name: name of the list in errors, if `trials` is not a file
    say: called with a warning if the scores look like distances
    Raises InputError if the trials of the two differ.
    """
    scores = read_scores(path)
    if trials is not None:
        listed, name = (trials, name) if isinstance(trials, Trials) else (read_trials(trials), trials)
        scores = join(scores, listed, names=(str(path), str(name)))
    if say is not None and (doubt := falling(scores)):
        say(f"warning: {path}: {doubt}")
    return scores
