"""Text that others wrote: UTF-8, with or without a byte order mark. All text that the toolkit reads is decoded here."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spkver.errors import InputError

if TYPE_CHECKING:
    from spkver.files import StrPath

MARK = codecs.BOM_UTF8
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32's little-endian mark begins with the first


def decoded(content: bytes, path: StrPath, first_line: int = 1) -> str:
    """The text of a file, or of some of its lines; a byte order mark before a line is no part of it.

    Raises InputError, naming the line, for what is not UTF-8.
    """
    content = without_mark(content, path)
    if b"\n" + MARK in content:  # files put together with `cat`
        content = content.replace(b"\n" + MARK, b"\n")
    at, reason = content.find(b"\0"), "holds a NUL byte"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        at, reason = error.start, "not UTF-8 text"
    if at >= 0:
        line = first_line + content.count(b"\n", 0, at)
        raise InputError(f"{path}:{line}: {reason}; save it as UTF-8 text")
    return text


def without_mark(start: bytes, path: StrPath) -> bytes:
    """The first bytes of a text without the byte order mark. Raises InputError for UTF-16."""
    if start.startswith(_UTF16) or b"\0" in start[:4]:
        raise InputError(f"{path}: UTF-16 or no text at all; save it as UTF-8 text")
    return start.removeprefix(MARK)


def read_text(path: StrPath) -> str:
    """The text of a file. Raises InputError for one that cannot be read or is not UTF-8."""
    try:
        return decoded(Path(path).read_bytes(), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def numbered(lines: Iterable[bytes], path: StrPath) -> Iterator[tuple[str, str]]:
    """`file:line` and the text of every line that is not empty."""
    for number, line in enumerate(lines, 1):
        if text := decoded(line, path, number).strip():
            yield f"{path}:{number}", text


def parsed_json(text: str, place: StrPath) -> Any:
    """What a text of JSON says. Raises InputError naming its place for anything else."""
    try:
        found = json.loads(text)
        if "\\u" in text and not is_text(json.dumps(found, ensure_ascii=False)):
            raise ValueError("it holds half a character, a lone surrogate")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON ({error})") from error
    return found


def is_text(text: str) -> bool:
    """Whether a string is text: JSON and YAML can write half a character (a lone surrogate), which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
