"""Text on its way to people: what files and lists hold must not steer their terminal."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any

# all control characters but those of lines and of progress bars (tab, newline, carriage return), and those that turn
# the direction of writing; surrogates, which no encoding can write, stand for bytes of names that are not UTF-8
_STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def visible(text: str, pattern: re.Pattern[str] = _STEERING) -> str:
    """The text with its control characters written as escapes: `\\x1b`."""
    return pattern.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Visible:
    """A text stream that writes no control characters."""

    def __init__(self, stream: Any, pattern: re.Pattern[str]) -> None:
        self._stream, self._pattern = stream, pattern

    def write(self, text: str) -> int:
        self._stream.write(visible(text, self._pattern))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def visible_streams() -> Iterator[None]:
    """Within, standard error, and standard output on a terminal, show control characters as escapes.

    What goes from standard output into a file or another program is data, and stays as it is.
    """
    out, error = sys.stdout, sys.stderr
    sys.stdout = _Visible(out, _STEERING if out.isatty() else _SURROGATES)
    sys.stderr = _Visible(error, _STEERING)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, error
