"""Download files over HTTP: retry, resume, check that there is room."""

from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from spkver.errors import RunError
from spkver.progress import bar

_TRIES = 6
_PAUSE = 1.0  # seconds before the second try, doubled before each further one
_TIMEOUT = 60.0  # seconds without a byte
_BLOCK = 1 << 20


def base_name(url: str) -> str:
    """The last part of the path of a URL."""
    return urllib.parse.urlsplit(url).path.rpartition("/")[2]


def fetch_file(url: str, target: Path, advice: str) -> int:
    """Download one file, resuming an earlier attempt. Returns its size in bytes. An existing file is kept.

    advice: what to do if the server refuses, for the message
    Raises RunError for a file that the server refuses, or if the network fails repeatedly.
    """
    if target.is_file():
        return target.stat().st_size
    part = target.with_name(target.name + ".part")
    pause = _PAUSE
    for attempt in range(1, _TRIES + 1):
        try:
            if _receive(url, part):
                break
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise RunError(f"{url}: HTTP {error.code} {error.reason}; {advice}") from error
            reason = f"HTTP {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if attempt == _TRIES:
            raise RunError(f"{url}: {reason}, in each of {_TRIES} attempts; run the command again to resume")
        time.sleep(pause)
        pause *= 2
    _tag(part).unlink(missing_ok=True)
    part.replace(target)
    return target.stat().st_size


def _receive(url: str, part: Path) -> bool:
    """Append the missing bytes to `part`. Returns whether it is complete."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "spkver"})  # noqa: S310 - http(s) only, checked by the callers
    if have:
        request.add_header("Range", f"bytes={have}-")
        if _tag(part).is_file():  # the rest if the file is unchanged, otherwise all of the new one
            request.add_header("If-Range", _tag(part).read_text())
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        complete = error.headers.get("Content-Range", "").endswith(f"/{have}")
        if not complete:
            part.unlink(missing_ok=True)
        return complete
    with response:
        start, total = _extent(response, have)
        _need_space(part.parent, url, None if total is None else total - start)
        tag = response.headers.get("ETag", "")
        if tag and not tag.startswith("W/"):
            _tag(part).write_text(tag)
        else:
            _tag(part).unlink(missing_ok=True)
        with (
            part.open("r+b" if start else "wb") as out,
            bar(total=total, what=base_name(url), unit="B", unit_scale=True, initial=start) as progress,
        ):
            out.seek(start)
            out.truncate()
            while block := response.read(_BLOCK):
                out.write(block)
                progress.update(len(block))
            return total is None or out.tell() == total


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """The offset of the response in the file, and the total size of the file if the server states it."""
    if response.status == 206:
        stated = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if stated and int(stated[1]) == have:
            return have, int(stated[2])
        raise http.client.HTTPException("the server sent another range of the file than requested")
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _need_space(folder: Path, what: str, size: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if size is not None and size > free:
        raise RunError(f"{what}: needs {size} bytes, but {folder} has {free} free; nothing was downloaded")
