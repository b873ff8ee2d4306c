"""Local copies of remote files, in a folder of bounded size that processes share.

The folder is `SPKVER_CACHE` (default ~/.cache/spkver), its size `SPKVER_CACHE_GB` (default 50). Files that were not
used for longest are removed first. Names in the folder are hashes, never names that a server or a file gave.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from spkver.errors import InputError, RunError
from spkver.files import atomic_file, locked, readable_size, recover
from spkver.storage import access
from spkver.storage.url import Url

FOLDER, GIGABYTES = "SPKVER_CACHE", "SPKVER_CACHE_GB"
DEFAULT_GB = 50.0

_HASH = re.compile(r"[0-9a-f]{64}")
_SHARE = 64  # a process scans again after it added this fraction of the free space; so many processes can add at once
_FULL = 0.9  # of the limit: what is left when files are removed
_MAKING = "making"  # locks of the files that are being made
_THIS_RUN = f"{os.getpid()} {time.time()}"


def folder() -> Path:
    """The folder of the cache."""
    given = os.environ.get(FOLDER)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(home, "spkver")


def outgoing() -> Path:
    """The folder of outputs that will be uploaded."""
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder() / "outgoing"


def limit() -> int:
    """The largest size of the cache in bytes. Raises InputError for an invalid setting."""
    given = os.environ.get(GIGABYTES, "")
    try:
        size = float(given or DEFAULT_GB)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise InputError(f"{GIGABYTES}={given}: expected a number of gigabytes above 0")
    return int(size * 1e9)


def local(url: Url) -> Path:
    """The local copy of a file, downloaded if there is none of its present content.

    Raises FileNotFoundError if there is no such file; IsADirectoryError for a folder; InputError and RunError as
    `access` does.
    """
    about = access.required(url)
    if about.folder:
        raise IsADirectoryError(errno.EISDIR, "is a directory", str(url))
    # a server that gives no version may have changed the file since the last run
    version = about.version or _THIS_RUN
    key = hashlib.sha256(f"{url.address}\n{about.size}\n{version}".encode()).hexdigest()

    def make(part: Path) -> None:
        access.download(url, part, about.size)
        if (about.size or 0) > access.CHUNK:
            access.forget(url)
            if access.info(url) != about:
                raise RunError(f"{url}: changed while it was read; run again when it is complete")

    return kept(key, make, about.size or 0, name=url.name, exact=about.size is not None)


def kept(key: str, make: Callable[[Path], None], size: int, *, name: str = "content", exact: bool = True) -> Path:
    """The path of a file in the cache, made by `make` if it is missing.

    key: hash of what the file holds, 64 hexadecimal digits; name: its file name, for readers that go by the suffix
    size: bytes, for which room is made; exact: a file of another size has been damaged and is made again
    """
    if not _HASH.fullmatch(key):
        raise InputError(f"{key[:80]!r} is not a SHA-256; the index that gives it is damaged")
    plain = re.sub(r"[^\w.+-]", "_", name)[-100:]
    path = folder() / key / (plain if plain.strip(".") else "content")
    while not _used(path, size if exact else None):
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder() / _MAKING / key, patience=math.inf):
            if _used(path, size if exact else None):
                continue
            _room.make(size)
            with atomic_file(path, 0o600) as part:
                make(part)
    return path


def discard(path: Path) -> None:
    """Remove a file of the cache."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def _used(path: Path, size: int | None) -> bool:
    """Whether there is a file, of this size; it is then the one that was used last."""
    try:
        if size is not None and path.stat().st_size != size:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    except PermissionError:  # another user's
        return path.exists()
    return True


class _Room:
    """Keeps the cache below its limit. The folder is scanned again after much was added since the last scan."""

    def __init__(self) -> None:
        self._before_next_look = 0

    def make(self, size: int) -> None:
        """Remove files, if needed, to have room for `size` bytes more."""
        most = limit()
        if size > most:
            raise InputError(
                f"{folder()}: a file of {readable_size(size)} does not fit into the cache of {readable_size(most)}; "
                f"set {GIGABYTES} to more"
            )
        self._before_next_look -= size
        if self._before_next_look <= 0:
            total = self._remove_oldest(most, size)
            self._before_next_look = (most - total) // _SHARE

    def _remove_oldest(self, most: int, size: int) -> int:
        """The size of the files that are left."""
        there: list[tuple[float, int, Path]] = []
        for entry in folder().glob("*/"):
            if _HASH.fullmatch(entry.name):
                recover(entry, alone=False)
                # also what others are downloading; walk passes over folders that are renamed meanwhile, rglob does not
                for path in (Path(place, name) for place, _, names in os.walk(entry) for name in names):
                    with contextlib.suppress(OSError):
                        status = path.stat()
                        there.append((status.st_mtime, status.st_size, path))
        total = sum(one for _, one, _ in there) + size
        if total <= most:
            return total
        for _, one, path in sorted(there):
            if path.parent.parent == folder():
                discard(path)
                total -= one
            if total <= max(size, _FULL * most):
                break
        return total


_room = _Room()
