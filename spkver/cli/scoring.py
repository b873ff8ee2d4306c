"""Options of the commands that score: the files of embeddings, and the back end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spkver.cli import inputs

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_FILE = inputs.FILE
_OPTIONS = (
    click.option("--test", type=_FILE, help="Embeddings of the test side, if in another file."),
    click.option("--enrolment", type=_FILE, help="Lines of `model utterance utterance ...` (spk2utt)."),
    click.option("--mean", type=_FILE, help="Subtract the mean of the embeddings in this file."),
    click.option("--chain", type=_FILE, help="Transform the embeddings first (spkver transform)."),
    click.option("--plda", type=_FILE, help="Score with this PLDA model (spkver plda)."),
    click.option("--device", default="cpu", show_default=True, help="Device for matrix products: cpu or cuda."),
)


def options(command: CommandT) -> CommandT:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def show(out: Path, scores: int | None) -> None:
    """Print the number of scores of a file; None: only a share of its parts was made."""
    if scores is None:
        click.echo(f"{out}: the parts are made; when all are, run: spkver gather {out}")
    else:
        click.echo(f"{out}: {scores} scores")
