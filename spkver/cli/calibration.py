"""The options that `calibrate` and `fuse` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from spkver.cli import inputs, outputs
from spkver.cli import options as shared
from spkver.scoring.calibration import METHODS

FILE = inputs.FILE
CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--trials", type=FILE, help="Trial list with the labels of SCORES (for --folds)."),
    click.option("--train-trials", type=FILE, help="Trial list with the labels of --train, if the file has none."),
    click.option("--method", type=click.Choice(METHODS), default="logistic", show_default=True),
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
    shared.speakers("Speakers of the ids (for --folds)."),
    click.option("--save", type=outputs.FILE, help="Write the fitted calibration to this file."),
    click.option("--load", type=FILE, help="Use the calibration in this file."),
)


def options(command: CommandT) -> CommandT:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
