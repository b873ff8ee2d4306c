"""What the commands that listen to recordings share: their options, and how they say what is doubtful."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spkver.errors import InputError

if TYPE_CHECKING:
    from spkver.verify.model import Verifier

FILE = click.Path(path_type=Path)

model = click.option("--model", type=FILE, help="Model directory or .onnx file; by default the package's own.")
channel = click.option("--channel", type=click.IntRange(min=0), help="Which channel of all files, counted from 0.")
threshold = click.option("--threshold", type=float, help="One speaker from this score on, instead of the model's.")
book = click.option(
    "--book", type=FILE, help="Directory of the book; by default spkver/book in your data directory ($XDG_DATA_HOME)."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def load(path: Path | None) -> Verifier:
    """The model of `--model`."""
    from spkver.verify.model import load_model

    return load_model(path)


def place(path: Path | None) -> Path:
    """The book of `--book`."""
    from spkver.verify.book import default_book

    return path or default_book()


def required(threshold: float | None, verifier: Verifier) -> float:
    """The threshold to decide by. Raises InputError where there is none."""
    if threshold is not None:
        return threshold
    if verifier.decision is None:
        raise InputError(
            "no threshold is kept with this model: give --threshold, or measure one by spkver threshold --model"
        )
    return verifier.decision.threshold


def say(text: str) -> None:
    """Say what happens, beside the results."""
    click.echo(text, err=True)


def warn(lines: Iterable[str]) -> None:
    """Say what is doubtful, once each."""
    for line in dict.fromkeys(lines):
        click.echo(f"warning: {line}", err=True)
