"""How the commands read labelled scores."""

from __future__ import annotations

import click

from spkver.files import StrPath
from spkver.trials import Scores, Trials, falling, join, read_scores


def read(path: StrPath, listed: Trials | None = None, name: object = "") -> Scores:
    """Read scores, with the labels of the trial list `listed` (called `name` in errors) if given.

    Warns if the scores look like distances.
    """
    scores = read_scores(path)
    if listed is not None:
        scores = join(scores, listed, names=(str(path), str(name)))
    if doubt := falling(scores):
        click.echo(f"warning: {path}: {doubt}", err=True)
    return scores
