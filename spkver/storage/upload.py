"""Write files and folders to an object store, where they appear whole or not at all.

A file appears when its upload is complete. An object store cannot rename a folder: the file that readers of a folder
open first (`holds`) is deleted first and uploaded last, so that a folder is complete or cannot be read. The file
`UNFINISHED` in it shows that its other files are those of a run that was stopped, and may be replaced.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from spkver.errors import InputError
from spkver.storage import access
from spkver.storage.url import Url

UNFINISHED = ".unfinished"


def check(url: Url, holds: str | None = None) -> None:
    """Raise InputError for a place that cannot be written, or with `holds` for a folder without a file of that name."""
    access.check_writable(url)
    if holds is None or (url / holds).exists() or (url / UNFINISHED).exists():
        return
    if access.files_below(url):
        raise InputError(f"{url}: contains other files (no {holds}) and is not replaced; choose another path")


def put(places: Sequence[tuple[Path, Url]], holds: str | None = None) -> None:
    """Upload files or folders. The first one is deleted first, if there are several, and uploaded last."""
    if len(places) > 1:
        first = places[0][1]
        access.delete(first / holds if holds and places[0][0].is_dir() else first)
    for part, url in reversed(places):
        if part.is_dir():
            put_folder(part, url, holds)
        else:
            access.upload(part, url)


def put_folder(folder: Path, url: Url, holds: str | None, names: Sequence[str] | None = None) -> None:
    """Upload the files of a folder, or those of these names."""
    there = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    new = sorted(there if names is None else names)
    old = access.files_below(url)
    with tempfile.NamedTemporaryFile() as empty:
        access.upload(Path(empty.name), url / UNFINISHED)
    first = [holds] if holds in new else []
    for name in [*(name for name in first if name in old), *sorted(set(old) - set(new) - {UNFINISHED})]:
        access.delete(url / name)
    for name in [name for name in new if name not in first] + first:
        access.upload(folder / name, url / name)
    access.delete(url / UNFINISHED)
