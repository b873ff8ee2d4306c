"""Archives taken apart so that no member lands outside the folder it was meant for."""

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
    """The files in a tar (of any compression, read in one pass) or zip archive; links and devices are left out.

    Each content must be read before the next member is asked for. To be used within `reading`.
    """
    return _zip(stream) if name.endswith(".zip") else _tar(stream)


@contextmanager
def reading(name: StrPath) -> Iterator[None]:
    """Raises RunError where the archive turns out to be damaged or to end early."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's
            raise
        raise RunError(f"{name}: damaged or cut short ({error}); fetch it again") from error


def _tar(stream: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            if member.isfile() and (content := archive.extractfile(member)) is not None:
                yield member.name, member.size, content
        # tarfile takes a file that ends between two members for a whole one
        if archive.fileobj.tell() < archive.offset + tarfile.BLOCKSIZE:
            raise tarfile.ReadError("no end mark")


def _zip(stream: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                with archive.open(member) as content:
                    yield member.filename, member.file_size, content


def place(folder: StrPath, name: str, archive: str) -> Path:
    """Where a member goes. Raises InputError for one that would leave `folder` or is no name of a file."""
    unusable = name.startswith("/") or "\0" in name or Path(name).name in ("", "..")
    if not unusable:
        try:
            return inside(folder, name)
        except InputError:
            unusable = True
    raise InputError(
        f"{archive}: its member {name!r} would leave {folder}; it is not to be trusted, nothing more is done"
    )


def put(content: IO[bytes], target: Path, size: int) -> None:
    """Write a member, whole or not at all; one of that size that is there stays.

    Raises InputError where a folder stands at its place, or a file where a folder of its path should be.
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
        raise InputError(f"{target}: is, or is below, both a file and a folder; unpack into an empty folder") from error
    finally:
        if part.is_file():
            part.unlink()
