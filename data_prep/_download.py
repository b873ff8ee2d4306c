"""Download corpora: check size and checksum, unpack safely."""

from __future__ import annotations

import hashlib
import io
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import click

from spkver import archives
from spkver.download import base_name, fetch_file
from spkver.errors import InputError, RunError
from spkver.files import StrPath, write_text
from spkver.progress import bar

OPENSLR = "https://www.openslr.org/resources"

_BLOCK = 1 << 20
_MARKS = ".downloaded"  # below the corpus folder: one file for each archive that was downloaded and unpacked


@dataclass(frozen=True)
class Archive:
    """A published archive.

    urls: its address, or the addresses of its pieces in order
    size: total bytes of all pieces; digest: `md5:...` or `sha256:...` of the whole archive. None: no published value is
        known; the size is then compared with the server's.
    """

    urls: tuple[str, ...]
    size: int | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """The file name, without the suffix that numbers the pieces."""
        base = base_name(self.urls[0])
        return base if len(self.urls) == 1 else re.sub(r"(\.tar\.gz|\.zip).*$", r"\1", base)


def openslr(number: int, *files: str, size: int | None = None, digest: str | None = None) -> Archive:
    """An archive on OpenSLR, in one or several pieces."""
    return Archive(tuple(f"{OPENSLR}/{number}/{file}" for file in files), size, digest)


@dataclass(frozen=True)
class Source:
    """Where a corpus is published: home page, licence, and its archives by part or why they cannot be downloaded."""

    home: str
    licence: str
    archives: Mapping[str, Archive] = field(default_factory=dict)
    default: Sequence[str] = ()  # parts downloaded by default
    refusal: str = ""

    def fetch(self, root: Path, parts: Sequence[str] = (), mirror: str | None = None) -> None:
        """Download parts of the corpus and unpack them below `root`. Existing files are kept.

        mirror: another scheme and host for the same paths, e.g. https://openslr.elda.org
        Raises InputError if a licence must be accepted first; RunError if the download fails or its checksum differs.
        """
        if not self.archives:
            raise InputError(f"{self.refusal} (licence: {self.licence}; see {self.home})")
        for part in parts or self.default or self.archives:
            fetch(self.archives[part], root, mirror)


def fetch(archive: Archive, folder: StrPath, mirror: str | None = None) -> None:
    """Download an archive, check it, and unpack it in `folder`. Finished steps are not repeated."""
    folder = Path(folder)
    mark = folder / _MARKS / archive.name
    if mark.is_file():
        click.echo(f"{archive.name}: already downloaded")
        return
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [folder / base_name(url) for url in archive.urls]
    total = sum(
        fetch_file(_moved(url, mirror), piece, "try another --mirror") for url, piece in zip(archive.urls, pieces)
    )
    _compare(archive, pieces, total)
    count = _take_apart(archive.name, pieces, folder)
    write_text(mark, f"{total} bytes, {archive.digest or 'no published checksum'}, {count} files\n")
    known = "checksum correct" if archive.digest else "no published checksum"
    click.echo(f"{archive.name}: {count} files, {total} bytes, {known}; the archive can be deleted")


def _moved(url: str, mirror: str | None) -> str:
    if mirror is None:
        return url
    host = urllib.parse.urlsplit(mirror)
    if host.scheme not in ("http", "https") or not host.netloc:
        raise InputError(f"--mirror {mirror}: expected a scheme and a host, e.g. https://openslr.elda.org")
    return urllib.parse.urlunsplit(urllib.parse.urlsplit(url)._replace(scheme=host.scheme, netloc=host.netloc))


# --- on the disk ------------------------------------------------------------------------------------------------------


def _compare(archive: Archive, pieces: Sequence[Path], total: int) -> None:
    """Check size and checksum. Removes the pieces and raises RunError if they differ from the published ones."""
    wrong = ""
    if archive.size is not None and total != archive.size:
        wrong = f"has {total} bytes, expected {archive.size}"
    elif archive.digest is not None:
        kind, _, published = archive.digest.partition(":")
        digest = hashlib.new(kind, usedforsecurity=False)
        with bar(total=total, what=f"checking {archive.name}", unit="B", unit_scale=True) as progress:
            for piece in pieces:
                with piece.open("rb") as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
                        progress.update(len(block))
        if digest.hexdigest() != published:
            wrong = f"{kind} is {digest.hexdigest()}, expected {published}"
    if wrong:
        for piece in pieces:
            piece.unlink()
        raise RunError(f"{archive.name}: {wrong}; the file was removed, run again or try another --mirror")


def _take_apart(name: str, pieces: Sequence[Path], folder: Path) -> int:
    count = 0
    with ExitStack() as stack, bar(total=None, what=f"unpacking {name}", unit="file") as progress:
        streams = [stack.enter_context(piece.open("rb")) for piece in pieces]
        whole: IO[bytes] = streams[0] if len(streams) == 1 else _Joined(streams)  # type: ignore[assignment]
        with archives.reading(name):
            for member, size, content in archives.members(whole, name):
                archives.put(content, archives.place(folder, member, name), size)
                count += 1
                progress.update()
    return count


class _Joined(io.RawIOBase):
    """Concatenated files as one stream."""

    def __init__(self, streams: Sequence[IO[bytes]]) -> None:
        self._streams = list(streams)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._streams:
            if block := self._streams[0].read(len(buffer)):
                buffer[: len(block)] = block
                return len(block)
            self._streams.pop(0)
        return 0
