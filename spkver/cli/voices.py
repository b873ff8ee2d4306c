"""Shared by the commands that embed recordings: their options and warnings."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spkver.cli import inputs, options

if TYPE_CHECKING:
    from spkver.verify.model import Verifier

FILE = inputs.FILE


class Day(click.ParamType):
    """A day, `2030-12-31`."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """See click.ParamType."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"'{value}': expected a day, for example 2030-12-31", param, ctx)


model = click.option(
    "--model",
    type=options.MODEL,
    help="Model directory, .onnx file, or name of a published model.  [default: the packaged model]",
)
channel = click.option("--channel", type=click.IntRange(min=0), help="Channel of all files (0-based).")
threshold = click.option("--threshold", type=float, help="Threshold instead of the one stored with the model.")
book = click.option(
    "--book", type=FILE, help="Directory of the book.  [default: spkver/book in your data directory, $XDG_DATA_HOME]"
)

purpose = click.option("--purpose", default="", metavar="TEXT", help="What the person agrees to, today.")
until = click.option("--until", type=Day(), help="The last day that the person may be kept, as 2030-12-31.")


def load(name: str | None) -> Verifier:
    """The model of `--model`."""
    from spkver.verify.model import load_model

    return load_model(None if name is None else options.local(name))


def place(path: Path | None) -> Path:
    """The book of `--book`."""
    from spkver.verify.book import default_book

    return path or default_book()


def warn(lines: Iterable[str]) -> None:
    """Print each distinct warning once to standard error."""
    for line in dict.fromkeys(lines):
        click.echo(f"warning: {line}", err=True)
