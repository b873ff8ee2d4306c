"""Options and arguments that several commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from spkver.cli import inputs, outputs
from spkver.errors import InputError
from spkver.work import Share
from spkver.work.engine import ENGINES

FILE = inputs.FILE


class FloatRange(click.FloatRange):
    """A finite number in a range. click's own type takes `nan` in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.FloatRange."""
        found = super().convert(value, param, ctx)
        return found if math.isfinite(found) else self.fail(f"'{value}' is not a finite number.", param, ctx)


MODEL = click.Path()  # or the name of a published model: pass it to `local`

trials = click.option("--trials", type=FILE, help="Trial list with the labels, in any order.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
json_file = click.option("--out", type=outputs.FILE, help="Also write the numbers to this JSON file.")
markdown = click.option("--markdown", is_flag=True, help="Print the table in Markdown.")
replicates = click.option(
    "--replicates", type=click.IntRange(min=20), default=1000, show_default=True, help="Bootstrap draws."
)
threads = click.option(
    "--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Number of decoding threads."
)
allow_pipes = click.option("--allow-pipes", is_flag=True, help="Run the shell commands in wav.scp.")
accept_pipes = click.option("--allow-pipes", is_flag=True, help="Accept shell commands in wav.scp; none is run.")


jobs = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    show_default="all cores",
    help="Number of processes or threads, or of workers on Ray.",
)
on = click.option(
    "--on",
    type=click.Choice(ENGINES),
    default="local",
    show_default=True,
    help="ray: run on the Ray cluster of RAY_ADDRESS, or on one started here (extra `cluster`).",
)


class _Share(click.ParamType):
    """A share of the parts of an output, `3/64`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, Share):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,6})", str(value))
        if not found or int(found[1]) > int(found[2]):
            self.fail(f"'{value}': expected N/M with N from 1 to M, for example 3/64", param, ctx)
        return Share(int(found[1]), int(found[2]))


part = click.option(
    "--part",
    "share",
    type=_Share(),
    metavar="N/M",
    help="Make only every M-th part, from the N-th, for 'spkver gather' (Slurm arrays).",
)


def seed(text: str, default: int | None = 1) -> Callable[[Any], Any]:
    """An option for a random seed that all generators take."""
    shown = default is not None
    return click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=default, show_default=shown, help=text)


def speakers(text: str, name: str = "--speakers") -> Callable[[Any], Any]:
    """An option for the speakers of ids, repeatable: anything that `read_speakers` reads."""
    return click.option(
        name,
        multiple=True,
        type=FILE,
        help=f"{text} A data directory, pack, utt2spk, or table (.csv, .parquet); repeatable.",
    )


def local(model: str) -> Path:
    """The model directory or .onnx file of an argument. A published model is downloaded when it is first used."""
    if Path(model).exists():
        return Path(model)
    from spkver.interop import hub

    return hub.local(model, say=lambda line: click.echo(line, err=True))


def named(given: Sequence[str], what: str) -> list[tuple[str, str]]:
    """Name and path of each argument. Raises InputError if one does not have the form NAME=`what`."""
    pairs = []
    for pair in given:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(f"'{pair}': expected NAME={what}")
        pairs.append((name, path))
    return pairs
