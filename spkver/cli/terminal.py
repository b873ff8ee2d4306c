"""Terminal output: text from files and lists must not control the user's terminal."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import click

# All control characters except tab, newline and carriage return (used by lines and progress bars), and characters that
# change the writing direction. Surrogates stand for bytes of file names that are not UTF-8; no encoding can write them.
_STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def to_stderr(text: str) -> None:
    """Print a message to standard error."""
    click.echo(text, err=True)


def visible(text: str, pattern: re.Pattern[str] = _STEERING) -> str:
    """The text with control characters written as escapes such as `\\x1b`."""
    return pattern.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Visible:
    """A text stream that writes control characters as escapes."""

    def __init__(self, stream: Any, pattern: re.Pattern[str]) -> None:
        self._stream, self._pattern = stream, pattern

    def write(self, text: str) -> int:
        self._stream.write(visible(text, self._pattern))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def visible_streams() -> Iterator[None]:
    """Show control characters as escapes on standard error, and on standard output if it is a terminal.

    Standard output to a file or another program is data and is not changed.
    """
    out, error = sys.stdout, sys.stderr
    sys.stdout = _Visible(out, _STEERING if out.isatty() else _SURROGATES)
    sys.stderr = _Visible(error, _STEERING)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, error
