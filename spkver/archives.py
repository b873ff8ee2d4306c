"""Unpack archives; no member can be written outside the target folder."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from spkver.errors import InputError, RunError
from spkver.files import StrPath, inside

# A member: its name, its size in bytes, its content
Member = tuple[str, int, IO[bytes]]

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)


def members(stream: IO[bytes], name: str) -> Iterator[Member]:
    """The files in a tar (any compression, read in one pass) or zip archive. Links and devices are skipped.

    Read the content of a member before advancing to the next one. Use it inside `reading`.
    """
    return _zip(stream) if name.endswith(".zip") else _tar(stream)


@contextmanager
def reading(name: StrPath) -> Iterator[None]:
    """Turn the errors of a damaged or truncated archive into RunError."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # from the file system
            raise
        raise RunError(f"{name}: damaged or truncated ({error}); download it again") from error


def _tar(stream: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            if member.isfile() and (content := archive.extractfile(member)) is not None:
                yield member.name, member.size, content
        # tarfile accepts a file that ends between two members as complete
        if archive.fileobj.tell() < archive.offset + tarfile.BLOCKSIZE:
            raise tarfile.ReadError("no end mark")


def _zip(stream: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                with archive.open(member) as content:
                    yield member.filename, member.file_size, content


def place(folder: StrPath, name: str, archive: str) -> Path:
    """The path of a member below `folder`. Raises InputError if its name is unusable or points outside `folder`."""
    unusable = name.startswith("/") or "\0" in name or Path(name).name in ("", "..")
    if not unusable:
        try:
            return inside(folder, name)
        except InputError:
            unusable = True
    raise InputError(f"{archive}: the member {name!r} points outside {folder}; stopped, do not trust this archive")


def put(content: IO[bytes], target: Path, size: int) -> None:
    """Write a member atomically. An existing file of the same size is kept.

    Raises InputError if the target is a folder, or if a file has the path of a parent folder.
    """
    if target.is_file() and target.stat().st_size == size:
        return
    part = target.with_name(f".{target.name[:200]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as out:
            shutil.copyfileobj(content, out, 1 << 20)
        if part.stat().st_size != size:
            raise EOFError(f"{target.name}: {part.stat().st_size} of {size} bytes")
        part.replace(target)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"{target}: a file and a folder have the same path; unpack into an empty folder") from error
    finally:
        if part.is_file():
            part.unlink()
