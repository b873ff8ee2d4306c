"""Shared by the corpus commands: arguments, options, and writing the data directories."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from data_prep._download import Source
from data_prep._tree import Tree
from spkver.cli import outputs
from spkver.cli import run as run_command
from spkver.datadir import DataDir, write_datadirs
from spkver.errors import InputError
from spkver.files import StrPath

_PATH = click.Path(path_type=Path)


def command(source: Source | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the arguments ROOT and OUT and the common options to a corpus command, which receives `tree` and `out`.

    A source adds --download and its options.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def wrapped(
            root: Path,
            out: Path,
            files: Path | None,
            durations: bool,
            download: bool = False,
            download_part: tuple[str, ...] = (),
            download_mirror: str | None = None,
            **options: Any,
        ) -> None:
            if download:
                assert source is not None
                source.fetch(root, download_part, download_mirror)
            elif download_part or download_mirror:
                raise InputError("--part and --mirror need --download")
            function(tree=Tree.read(root, files, durations=durations), out=out, **options)

        for decorator in reversed([*_arguments(), *_download_options(source)]):
            wrapped = decorator(wrapped)
        return wrapped

    return decorate


def _arguments() -> list[Callable]:
    listing = "File with the paths below ROOT, one per line (output of `find`); ROOT is then not searched."
    headers = "Read the duration of every recording from its header and write utt2dur."
    return [
        click.argument("root", type=_PATH),
        click.argument("out", type=outputs.FOLDER),
        click.option("--files", type=_PATH, help=listing),
        click.option("--durations/--no-durations", default=True, show_default=True, help=headers),
    ]


def _download_options(source: Source | None) -> list[Callable]:
    if source is None:
        return []
    if not source.archives:
        return [click.option("--download", is_flag=True, help=f"Show how to get the corpus ({source.licence}).")]
    options = [
        click.option("--download", is_flag=True, help=f"Download to ROOT first ({source.licence}, {source.home})."),
        click.option(
            "--mirror",
            "download_mirror",
            help="Scheme and host to download from instead, e.g. https://openslr.elda.org.",
        ),
    ]
    if len(source.archives) > 1:
        parts = click.Choice(list(source.archives))
        default = ", ".join(source.default or source.archives)
        options.append(
            click.option(
                "--part", "download_part", type=parts, multiple=True, help=f"Part to download [default: {default}]."
            )
        )
    return options


def write(out: StrPath, data: DataDir) -> None:
    """Write a data directory and print its counts."""
    _write([(out, data)])


def write_parts(out: Path, parts: Mapping[str, DataDir]) -> None:
    """Write a data directory for each part that has utterances; all are written, or none."""
    _write([(out / name, part) for name, part in parts.items() if len(part)])


def _write(parts: Sequence[tuple[StrPath, DataDir]]) -> None:
    write_datadirs(parts)
    for out, data in parts:
        click.echo(f"{out}: {len(data)} utterances, {len(data.table['speaker'].unique())} speakers")


def main(module: str, command: Callable[..., object]) -> NoReturn:
    """Run a corpus command as `python -m data_prep.MODULE`, with one-line errors."""
    assert isinstance(command, click.Command)
    run_command(command, f"python -m data_prep.{module}")
