"""Decode the text files that the toolkit reads: UTF-8, with or without a byte order mark."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from spkver.errors import InputError
from spkver.storage import located

if TYPE_CHECKING:
    from spkver.files import StrPath

MARK = codecs.BOM_UTF8
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # the UTF-32-LE mark begins with the UTF-16-LE mark


def decoded(content: bytes, path: StrPath, first_line: int = 1) -> str:
    """Decode a file, or some of its lines. Byte order marks at line starts are removed.

    Raises InputError with the line number for text that is not UTF-8.
    """
    content = without_mark(content, path)
    if b"\n" + MARK in content:  # concatenated files
        content = content.replace(b"\n" + MARK, b"\n")
    at, reason = content.find(b"\0"), "contains a NUL byte"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        at, reason = error.start, "not UTF-8 text"
    if at >= 0:
        line = first_line + content.count(b"\n", 0, at)
        raise InputError(f"{path}:{line}: {reason}; save it as UTF-8 text")
    return text


def without_mark(start: bytes, path: StrPath) -> bytes:
    """Remove the byte order mark from the start of a file. Raises InputError for UTF-16."""
    if start.startswith(_UTF16) or b"\0" in start[:4]:
        raise InputError(f"{path}: UTF-16 or not a text file; save it as UTF-8 text")
    return start.removeprefix(MARK)


def read_text(path: StrPath) -> str:
    """The text of a file. Raises InputError if it cannot be read or is not UTF-8."""
    try:
        return decoded(located(path).read_bytes(), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def numbered(lines: Iterable[bytes], path: StrPath) -> Iterator[tuple[str, str]]:
    """`file:line` and the text of every non-empty line."""
    for number, line in enumerate(lines, 1):
        if text := decoded(line, path, number).strip():
            yield f"{path}:{number}", text


def parsed_json(text: str, place: StrPath) -> Any:
    """Parse JSON. Raises InputError naming `place` for invalid JSON."""
    try:
        found = json.loads(text)
        if "\\u" in text and not is_text(json.dumps(found, ensure_ascii=False)):
            raise ValueError("it contains a lone surrogate")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON ({error})") from error
    return found


def is_text(text: str) -> bool:
    """Whether a string can be encoded: JSON and YAML escapes can give lone surrogates, which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
