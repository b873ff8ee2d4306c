"""The argument type of inputs: a path or a URL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from spkver.storage import located


class Input(click.Path):
    """A file or folder, by path or URL."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """See click.Path."""
        return located(os.fsdecode(super().convert(value, param, ctx)))


FILE = Input()
