"""URLs in place of paths."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from spkver.errors import InputError, redacted

StrPath = str | os.PathLike[str]

SCHEMES = ("s3", "gs", "http", "https", "memory")
READ_ONLY = ("http", "https")
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")

if TYPE_CHECKING:  # code that takes a path takes a URL
    _Base = Path
else:
    _Base = object


def located(path: StrPath) -> Path:
    """The path, or the `Url` if it is one. `file://` is a path.

    Raises InputError for a URL of an unknown kind, or with a password.
    """
    if isinstance(path, Url):
        return path
    text = os.fspath(path)
    found = _URL.match(text)
    if found is None:
        return Path(path)
    if found[1].lower() == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise InputError(f"{text}: a file on another computer; write file:///PATH for a file of this one")
        return Path(unquote(parts.path))
    return Url(text)


class Url(_Base):
    """A file or folder by URL, with the members of `Path` that reading needs.

    str() hides the query, which may be a signature. Passed to `open` or a library, it is the path of a local copy of
    the file, which is downloaded if needed; see `cache.local`.
    """

    address: str
    """the whole URL, for the server only"""
    scheme: str

    def __init__(self, text: str) -> None:
        scheme, _, rest = text.partition("://")
        self.scheme = scheme.lower()
        shown = redacted(text)
        if self.scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in (*SCHEMES[:-1], "file"))
            raise InputError(f"{shown}: cannot read {scheme}://; known: {known}")
        mark = "?" if self.scheme in READ_ONLY else "\0"  # names of objects may contain a question mark
        rest, mark, query = rest.partition(mark)
        self._query = f"{mark}{query}"
        self._host, _, path = rest.rstrip("/").partition("/")
        self._path = re.sub("/+", "/", path).strip("/")
        if not self._host or any(ord(letter) < 32 for letter in text):
            raise InputError(f"{shown!r}: not a URL; expected {self.scheme}://HOST/PATH")
        if "@" in self._host or "://***@" in shown:
            raise InputError(
                f"{shown}: a URL with a user name or password, which would be shown and stored; put them into ~/.netrc"
            )
        if {".", ".."} & set(self._path.split("/")):
            raise InputError(f"{shown}: a URL with . or .. in it; write it without")
        self.address = f"{self.scheme}://{self._host}/{self._path}{self._query}"

    def _at(self, path: str) -> Url:
        return Url(f"{self.scheme}://{self._host}/{path}{self._query}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Url, (self.address,)

    def __str__(self) -> str:
        return redacted(self.address)

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    def __fspath__(self) -> str:
        from spkver.storage import cache

        return str(cache.local(self))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # called for members that are not here
            if hasattr(Path, name):
                raise InputError(f"{self}: this needs a file or folder of this computer; copy it")
            raise AttributeError(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __lt__(self, other: Any) -> bool:
        return str(self) < str(other)

    # --- names ---

    def __truediv__(self, name: StrPath) -> Url:
        below = str(name)
        if below.startswith("/") or not below:
            raise InputError(f"{below!r} is outside {self}; use a path below it")
        if self.scheme in READ_ONLY:
            below = below.replace("?", "%3F").replace("#", "%23")
        return self._at(f"{self._path}/{below}")

    @property
    def name(self) -> str:
        """The last part of the path, or the host."""
        return self._path.rpartition("/")[2] or self._host

    @property
    def stem(self) -> str:
        """See Path."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """See Path."""
        return PurePosixPath(self.name).suffix if self._path else ""

    @property
    def parent(self) -> Url:
        """See Path."""
        return self._at(self._path.rpartition("/")[0])

    @property
    def parents(self) -> tuple[Url, ...]:
        """See Path."""
        return (self.parent, *self.parent.parents) if self._path else ()

    def with_name(self, name: str) -> Url:
        """See Path."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> Url:
        """See Path."""
        return self.with_name(self.stem + suffix)

    def resolve(self, strict: bool = False) -> Url:
        """The URL: it is absolute."""
        return self

    # --- content ---

    def exists(self, **_: Any) -> bool:
        """Whether there is a file or folder."""
        from spkver.storage import access

        return access.info(self) is not None

    def is_file(self, **_: Any) -> bool:
        """Whether there is a file."""
        from spkver.storage import access

        about = access.info(self)
        return about is not None and not about.folder

    def is_dir(self, **_: Any) -> bool:
        """Whether there is a folder. A web server has no folders: there, it is any address without a file."""
        from spkver.storage import access

        if self.scheme in READ_ONLY:
            try:
                return not self.is_file()
            except InputError:  # a folder without the right to list it
                return True
        about = access.info(self)
        return about is not None and about.folder

    def is_symlink(self) -> bool:
        """False."""
        return False

    def stat(self, **_: Any) -> Any:
        """Size, and a number that changes with the content, as the time of modification."""
        from spkver.storage import access

        about = access.required(self)
        mark = int(hashlib.sha256(about.version.encode()).hexdigest()[:15], 16)
        return SimpleNamespace(st_size=about.size or 0, st_mtime_ns=mark, st_mtime=mark / 1e9)

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:  # type: ignore[override]
        """Open the local copy for reading."""
        if set(mode) - set("rbt"):
            raise io.UnsupportedOperation(f"{self}: opened for writing")
        return open(self, mode, *args, **kwargs)

    def read_bytes(self) -> bytes:
        """See Path."""
        with open(self, "rb") as stream:
            return stream.read()

    def read_text(self, encoding: str | None = None, *_: Any, **__: Any) -> str:
        """See Path."""
        return self.read_bytes().decode(encoding or "utf-8")

    def iterdir(self) -> Iterator[Url]:  # type: ignore[override]
        """The files and folders in a folder. Raises InputError for a web server, which has no lists."""
        from spkver.storage import access

        return (self / name for name in access.names(self))

    def glob(self, pattern: str, **_: Any) -> Iterator[Url]:  # type: ignore[override]
        """The files and folders in a folder whose name matches."""
        return (one for one in self.iterdir() if fnmatch.fnmatchcase(one.name, pattern))

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file."""
        from spkver.storage import access

        access.delete(self, missing_ok=missing_ok)
