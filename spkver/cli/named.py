"""Arguments and options that several commands share: NAME=PATH, and the speakers of ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from spkver.errors import InputError


def named(given: Sequence[str], what: str) -> list[tuple[str, str]]:
    """Name and path of each argument. Raises InputError if one does not have the form NAME=`what`."""
    pairs = []
    for pair in given:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(f"'{pair}': expected NAME={what}")
        pairs.append((name, path))
    return pairs


def speakers_option(text: str, name: str = "speakers") -> Callable[[Any], Any]:
    """The option --speakers, repeatable: anything that `read_speakers` reads."""
    return click.option(
        f"--{name}",
        multiple=True,
        type=click.Path(path_type=Path),
        help=f"{text} A data directory, pack, utt2spk, or table (.csv, .parquet); repeatable.",
    )
