"""What the corpora share: finding recordings, naming utterances, writing the data directory, the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

from spkver.cli import run as run_command
from spkver.datadir import DataDir, write_datadir
from spkver.errors import InputError
from spkver.files import StrPath

# The suffixes of what libsndfile reads
SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".sph"}
SUFFIXES |= {".w64", ".rf64", ".nist", ".voc"}


def find_files(root: StrPath) -> list[str]:
    """Every file below `root` as a path relative to it, with `/`, sorted; hidden files and folders left out.

    Raises InputError if there is no such folder.
    """
    if not Path(root).is_dir():
        raise InputError(f"{root}: no such folder")
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(folder).relative_to(root)
        found += [(below / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def is_recording(path: str) -> bool:
    """Whether the suffix is that of a format libsndfile reads."""
    return Path(path).suffix.lower() in SUFFIXES


def word(text: str) -> str:
    """A path or name as one word of a Kaldi list: each blank becomes `_`."""
    return re.sub(r"\s", "_", text)


def write(out: StrPath, data: DataDir) -> None:
    """Write a data directory and say what it holds."""
    write_datadir(out, data)
    click.echo(f"{out}: {len(data)} utterances, {len(set(data.speakers))} speakers")


def main(module: str, command: Callable[..., object]) -> NoReturn:
    """Run a corpus's command with one-line errors: `python -m data_prep.MODULE`."""
    assert isinstance(command, click.Command)
    run_command(command, f"python -m data_prep.{module}")
