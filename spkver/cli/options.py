"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from spkver.cli import inputs, outputs
from spkver.errors import InputError

FILE = inputs.FILE

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


def speakers(text: str, name: str = "--speakers") -> Callable[[Any], Any]:
    """An option for the speakers of ids, repeatable: anything that `read_speakers` reads."""
    return click.option(
        name,
        multiple=True,
        type=FILE,
        help=f"{text} A data directory, pack, utt2spk, or table (.csv, .parquet); repeatable.",
    )


def named(given: Sequence[str], what: str) -> list[tuple[str, str]]:
    """Name and path of each argument. Raises InputError if one does not have the form NAME=`what`."""
    pairs = []
    for pair in given:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(f"'{pair}': expected NAME={what}")
        pairs.append((name, path))
    return pairs
