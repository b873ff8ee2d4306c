"""Shared by `calibrate` and `fuse`: their options, and the conversion of score files to log-likelihood ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from spkver.cli import labelled, outputs
from spkver.errors import InputError
from spkver.scoring import calibration as learn
from spkver.scoring.breakdown import read_table, speakers_of
from spkver.trials import Scores, read_trials, write_scores

FILE = click.Path(path_type=Path)
CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--trials", type=FILE, help="Trial list with the labels of SCORES (for --folds)."),
    click.option("--train-trials", type=FILE, help="Trial list with the labels of --train, if the file has none."),
    click.option("--method", type=click.Choice(["logistic", "isotonic"]), default="logistic", show_default=True),
    click.option(
        "--prior", type=float, default=0.5, show_default=True, help="Target prior of the training objective (logistic)."
    ),
    click.option(
        "--quality",
        multiple=True,
        metavar="TABLE:COLUMN",
        help="Quality measure as a further input, e.g. data/test:seconds.",
    ),
    click.option(
        "--train-quality", multiple=True, metavar="TABLE:COLUMN", help="The same measure for the trials of --train."
    ),
    click.option("--folds", type=int, help="Cross-validate on SCORES, by speaker."),
    click.option("--speakers", type=FILE, help="Data directory or table of the speakers (for --folds)."),
    click.option("--model", type=FILE, help="Use the calibration in this file."),
    click.option("--save", type=outputs.FILE, help="Write the fitted calibration to this file."),
)


def options(command: CommandT) -> CommandT:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def calibration(
    systems: Sequence[Path],
    out: Path,
    train: Sequence[Path],
    *,
    trials: Path | None,
    train_trials: Path | None,
    method: str,
    prior: float,
    quality: Sequence[str],
    train_quality: Sequence[str],
    folds: int | None,
    speakers: Path | None,
    model: Path | None,
    save: Path | None,
) -> str:
    """Write the ratios and return a summary line. Raises InputError for options that do not go together."""
    if sum(map(bool, (train, folds, model))) != 1:
        raise InputError("give exactly one of --train, --folds and --model")
    fit: learn.Fit = partial(learn.fit_affine, prior=prior) if method == "logistic" else learn.fit_isotonic
    scores, inputs = _inputs(systems, trials, quality)
    if folds:
        if speakers is None:
            raise InputError("--folds needs the speakers of the ids: add --speakers")
        enrol, test, _ = speakers_of(scores.trials, read_table(speakers))
        ratios = learn.cross_validated(inputs, scores.labels, enrol, test, fit, folds)
    else:
        if model:
            learnt = learn.read_map(model)
        else:
            if len(train) != len(systems) or len(train_quality) != len(quality):
                raise InputError("give one --train for each score file and one --train-quality for each --quality")
            known, examples = _inputs(train, train_trials, train_quality)
            learnt = fit(examples, known.labels)
        if save:
            learn.write_map(save, learnt)
        ratios = learnt(inputs)
    write_scores(out, Scores(scores.trials, ratios))
    return f"{out}: {len(ratios)} log-likelihood ratios"


def _inputs(files: Sequence[Path], trials: Path | None, measures: Sequence[str]) -> tuple[Scores, np.ndarray]:
    """The scores of the first file, and an array of all scores and quality measures on the same trials."""
    first = labelled.read(files[0], read_trials(trials) if trials else None, trials)
    others = [labelled.read(file, first.trials, files[0]) for file in files[1:]]
    columns = []
    for measure in measures:
        table, colon, column = measure.rpartition(":")
        if not (table and colon and column):
            raise InputError(f"'{measure}': expected TABLE:COLUMN")
        columns.append(learn.quality(first, read_table(table), column))
    return first, learn.stacked([first, *others], columns)
