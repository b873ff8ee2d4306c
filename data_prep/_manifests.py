"""Read the manifests of other toolkits (JSON lines)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spkver.errors import InputError
from spkver.files import json_object
from spkver.text import numbered


def read_objects(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`file:line` and the object of every line of a .jsonl or .jsonl.gz file.

    Raises InputError with the line number if a line is not an object, and for a truncated file.
    """
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            for place, line in numbered(stream, file):
                yield place, json_object(line, place)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def text(value: dict[str, Any], key: str, where: str) -> str:
    """A required text field."""
    found = value.get(key)
    if not isinstance(found, str) or not found:
        raise InputError(f"{where}: {key!r} should be text, got {found!r}")
    return found


def number(value: dict[str, Any], key: str, where: str) -> float:
    """A required field with a finite number."""
    found = value.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e12:
        raise InputError(f"{where}: {key!r} should be a number, got {found!r}")
    return float(found)


def absolute(path: str, base: Path | None) -> str:
    """The path made absolute; relative paths are below `base` (None: the current folder)."""
    return path if path.startswith("/") else str((base or Path.cwd()) / path)
