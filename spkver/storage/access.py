"""Requests to servers through fsspec: sizes, ranges, downloads, uploads. The only place that knows its libraries.

A request that fails for a temporary reason (a lost connection, a timeout, 503, too few bytes) is repeated a few times
with growing pauses. The error of the last attempt, or of a permanent failure, is one line without credentials.
"""

from __future__ import annotations

import errno
import functools
import inspect
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from spkver.errors import InputError, RunError, SpkverError, redacted
from spkver.storage.url import READ_ONLY, Url

ATTEMPTS = 6
FIRST_PAUSE = 0.5  # seconds before the second attempt; each further one waits twice as long
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0  # longest silence of a server
CHUNK = 16 << 20  # bytes of a request
THREADS = 4  # requests at a time for one file
REMEMBERED = 60.0  # seconds for which the size of a file is not asked again

Result = TypeVar("Result")

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken"}
_UNKNOWN = {"401", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure", "InvalidClientTokenId"}
_DENIED = {"403", "AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden"}
_MISSING = {"404", "410", "NoSuchKey", "NoSuchBucket", "NotFound"}
_PASSING = {
    "408",
    "425",
    "429",
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationAborted",
}
_NO_CREDENTIALS = ("NoCredentials", "PartialCredentials", "DefaultCredentials", "TokenRetrieval", "UnauthorizedSSO")
_HELP = "see docs/remote.md"
_LIBRARIES = ("aiohttp", "aiobotocore", "botocore", "urllib3", "requests", "gcsfs", "google", "fsspec", "s3fs")


@dataclass(frozen=True)
class Info:
    """Facts about a remote file. size: bytes, None if unknown; version: changes with the content, "" if unknown."""

    size: int | None
    version: str
    folder: bool = False


class _ShortError(Exception):
    """Fewer or more bytes than asked for."""


# --- reading ----------------------------------------------------------------------------------------------------------


def info(url: Url) -> Info | None:
    """Size and version of a file, or that it is a folder; None if there is neither."""
    with _lock:
        when, known = _known.get(url.address, (0.0, None))
    if known is not None and time.monotonic() - when < REMEMBERED:
        return known
    try:
        found = _attempt(url, "read", lambda: _filesystem(url.scheme).info(_asked(url)))
    except FileNotFoundError:
        return None
    known = _info(url, found)
    with _lock:
        if len(_known) > 100_000:
            _known.clear()
        _known[url.address] = time.monotonic(), known
    return known


_known: dict[str, tuple[float, Info]] = {}
_lock = threading.Lock()


def _info(url: Url, found: dict[str, Any]) -> Info:
    web_page = url.scheme in READ_ONLY and found.get("mimetype") == "text/html"
    folder = found.get("type") == "directory" or (web_page and url.suffix not in (".html", ".htm"))
    names = (
        "ETag",
        "etag",
        "md5Hash",
        "generation",
        "Content-MD5",
        "Last-Modified",
        "LastModified",
        "mtime",
        "created",
    )
    return Info(found.get("size"), next((str(found[name]) for name in names if found.get(name)), ""), folder)


def required(url: Url) -> Info:
    """As `info`. Raises FileNotFoundError if there is nothing."""
    about = info(url)
    if about is None:
        raise FileNotFoundError(errno.ENOENT, "no such file", str(url))
    return about


def read(url: Url, start: int, end: int, size: int | None = None) -> bytes:
    """The bytes [start, end) of a file; size: of the whole file, if known, which a server without ranges sends."""

    def once() -> bytes:
        found: bytes = _filesystem(url.scheme).cat_file(_asked(url), start=start, end=end)
        if len(found) != end - start:
            if size is None or len(found) != size:
                raise _ShortError(f"{len(found)} bytes instead of {end - start}")
            return found[start:end]
        return found

    return _attempt(url, "read", once) if end > start else b""


def download(url: Url, target: Path, size: int | None) -> None:
    """Write a file to `target`. size: its size; None: as much as the server sends."""
    if size is None:
        target.write_bytes(_attempt(url, "read", lambda: _filesystem(url.scheme).cat_file(_asked(url))))
        return
    starts = range(0, size, CHUNK)
    lock = threading.Lock()
    with open(target, "wb") as stream, ThreadPoolExecutor(THREADS, thread_name_prefix="download") as pool:
        stream.truncate(size)

        def fetch(start: int) -> None:
            part = read(url, start, min(start + CHUNK, size), size)
            with lock:
                stream.seek(start)
                stream.write(part)

        waiting = [pool.submit(fetch, start) for start in starts]
        try:
            for one in waiting:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def names(url: Url) -> list[str]:
    """The names of the files and folders in a folder, sorted. Raises InputError for a web server."""
    if url.scheme in READ_ONLY:
        raise InputError(f"{url}: a web server does not list its files; copy the folder, or use an object store")
    found = _attempt(url, "listed", lambda: _filesystem(url.scheme).ls(url.address, detail=False))
    return sorted({str(one).rstrip("/").rpartition("/")[2] for one in found} - {url.name, ""})


def files_below(url: Url) -> list[str]:
    """The files in a folder and its folders, as sorted paths below it; empty if there is none."""
    try:
        found = _attempt(url, "listed", lambda: _filesystem(url.scheme).find(url.address))
    except FileNotFoundError:
        return []
    root = url.address.partition("://")[2].strip("/") + "/"
    return sorted(str(one).lstrip("/").removeprefix(root) for one in found)


# --- writing ----------------------------------------------------------------------------------------------------------


def check_writable(url: Url) -> None:
    """Raise InputError for a place that cannot be written: a web server, no such bucket, or no credentials."""
    if url.scheme in READ_ONLY:
        raise InputError(f"{url}: a web server cannot be written to; give a path, s3:// or gs://")
    if url.scheme == "memory":
        return
    bucket = f"{url.scheme}://{url.address.partition('://')[2].partition('/')[0]}"
    try:
        _attempt(url, "written", lambda: _filesystem(url.scheme).info(bucket), denied_is_error=False)
    except FileNotFoundError:
        raise InputError(f"{url}: there is no bucket {bucket}; create it, or correct the name") from None


def upload(source: Path, url: Url) -> None:
    """Copy a local file to a URL, where it appears when it is complete."""
    try:
        _attempt(url, "written", lambda: _filesystem(url.scheme).put_file(str(source), url.address))
    except FileNotFoundError:
        raise InputError(f"{url}: there is no such bucket; create it, or correct the name") from None
    forget(url)


def delete(url: Url, *, missing_ok: bool = True) -> None:
    """Delete a file."""
    try:
        _attempt(url, "deleted", lambda: _filesystem(url.scheme).rm_file(url.address))
    except FileNotFoundError:
        if not missing_ok:
            raise
    forget(url)


def forget(url: Url) -> None:
    """Ask the server again about a file, and about the folders that it is in."""
    with _lock:
        for known in [known for known in _known if url.address.startswith(known)]:
            del _known[known]


# --- requests ---------------------------------------------------------------------------------------------------------


@functools.cache
def _filesystem(scheme: str) -> Any:
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        options["config_kwargs"] = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": ANSWER_SECONDS,
            "retries": {"max_attempts": 0},
        }
    elif scheme == "gs":
        options["requests_timeout"] = _timeout()
    elif scheme in READ_ONLY:
        # proxies, and passwords from ~/.netrc
        options["client_kwargs"] = {"timeout": _timeout(), "trust_env": True}
        options["headers"] = {"Accept-Encoding": "identity"}
        options["encoded"] = True
    made = fsspec.filesystem(scheme, **options)
    # the libraries' own attempts are off: they would multiply ours
    if scheme == "s3":
        made.retries = 1
    elif scheme == "gs":
        made._request = functools.partial(inspect.unwrap(type(made)._request), made)
    return made


def _timeout() -> Any:
    import aiohttp

    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)


def _asked(url: Url) -> str:
    """The address as the library takes it: for the web, with spaces and non-ASCII letters encoded."""
    return quote(url.address, safe="%/:=&?~#+!$,;'@()*[]") if url.scheme in READ_ONLY else url.address


def _attempt(url: Url, done: str, call: Callable[[], Result], *, denied_is_error: bool = True) -> Result | Any:
    """The result of a request, repeated while it fails for a temporary reason.

    done: what the request does, e.g. `read`
    Raises FileNotFoundError if there is no such file, InputError for another lasting reason, RunError for a passing
    one.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))
        try:
            return call()
        except SpkverError:
            raise
        except ImportError as error:
            raise InputError(
                f"{url}: {url.scheme}:// needs more packages: pip install 'spkver[remote]' ({error})"
            ) from None
        except Exception as error:
            kind, reason = _reason(error)
        if kind == "missing":
            raise FileNotFoundError(errno.ENOENT, "no such file", str(url))
        if kind == "denied" and not denied_is_error:
            return None
        if kind != "passing":
            raise InputError(f"{url}: cannot be {done}: {reason}")
    raise RunError(f"{url}: cannot be {done}: {reason}, {ATTEMPTS} times; check the network and the server, run again")


def _reason(error: BaseException) -> tuple[str, str]:
    """Kind of a failure (missing, denied, lasting, passing), and what to tell the user, without credentials."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    code = next((found for one in chain if (found := _code(one))), "")
    words = {type(one).__name__ for one in chain}
    if code in _EXPIRED or "RefreshError" in words:
        return "lasting", f"the credentials have expired; renew them and run again ({_HELP})"
    if code in _UNKNOWN:
        return "lasting", f"the server does not accept the credentials ({code}); check them ({_HELP})"
    if any(word.startswith(_NO_CREDENTIALS) for word in words):
        return "lasting", f"no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or others ({_HELP})"
    if code in _DENIED or (not code and isinstance(error, PermissionError)):
        return "denied", f"access denied ({code or '403'}); permission to read and list is needed ({_HELP})"
    if code in _MISSING or (not code and isinstance(error, FileNotFoundError)):
        return "missing", "no such file"
    if code in _PASSING or (len(code) == 3 and code.startswith("5")):
        return "passing", f"the server is overloaded or broken ({code})"
    if isinstance(error, _ShortError):
        return "passing", f"the server sent {error}"
    name = type(chain[-1] if type(error) is OSError else error).__name__
    if code or any("Certificate" in word or "SSL" in word for word in words):
        said = f"the server refused the request ({code})" if code else f"no secure connection ({name})"
        return "lasting", f"{said}; check the address, and whether the credentials have expired ({_HELP})"
    if "Timeout" in name:
        return "passing", "the server does not answer"
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in (*_LIBRARIES, "asyncio"):
        return "passing", f"the connection failed ({name})"
    return "lasting", f"{name}: {redacted(' '.join(str(error).split()))[:200]}"


def _code(error: BaseException) -> str:
    """The error code of a response: a status, or a word of S3. (A `code` of aiohttp is not one of the server.)"""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    if type(error) is OSError and str(error).startswith("Forbidden: "):  # so gcsfs says it
        return "403"
    library = type(error).__module__.partition(".")[0]
    for name in ("status",) if library == "aiohttp" else ("status", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
            return str(value)
    return ""
