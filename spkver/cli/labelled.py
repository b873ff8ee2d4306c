"""Labelled scores as the commands read them."""

from __future__ import annotations

import click

from spkver.files import StrPath
from spkver.trials import Scores, Trials, falling, join, read_scores


def read(path: StrPath, listed: Trials | None = None, name: object = "") -> Scores:
    """The scores of a file, with the labels of the trial list `name` where it is given; warns of distances."""
    scores = read_scores(path)
    if listed is not None:
        scores = join(scores, listed, names=(str(path), str(name)))
    if doubt := falling(scores):
        click.echo(f"warning: {path}: {doubt}", err=True)
    return scores
