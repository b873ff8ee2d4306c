"""Argument types for outputs. A path that cannot be written is refused before the work starts."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from spkver.files import directory_place, file_place, folder_place, leads_to_stdout
from spkver.storage import located


class Output(click.Path):
    """The path of an output, checked by `place`. If it is standard output, messages go to standard error."""

    def __init__(self, place: Callable[[Path], object]) -> None:
        super().__init__()
        self._place = place

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """See click.Path."""
        path = located(os.fsdecode(super().convert(value, param, ctx)))
        self._place(path)
        if ctx is not None and leads_to_stdout(path):
            ctx.with_resource(contextlib.redirect_stdout(sys.stderr))
        return path


def directory(holds: str) -> Output:
    """A directory that is written as a whole. It may replace an older one that has the file `holds`."""
    return Output(functools.partial(directory_place, holds=holds))


FILE = Output(file_place)
DIRECTORY = Output(directory_place)  # the command decides what it may replace
FOLDER = Output(folder_place)  # may exist; its other files are kept
