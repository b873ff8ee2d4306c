"""Exceptions that are shown to the user, and their exit codes.

An `InputError` is a problem with the input (a file, key, list or recording) and exits with code 2. A `RunError` is a
failure at run time (a non-finite loss, too many rejected recordings) and exits with code 1. Both print one line: what
is wrong, where, and what to do.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from types import ModuleType

# a password may contain a slash, a port is digits
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#@]*(:(?!\d+/)[^\s@]*)?@")
_QUERY = re.compile(r"(https?://[^\s?]*\?)(?!\*\*\*)[^\s'\"]+?(?=[:;,.)]*(?:[\s'\"]|$))")


def redacted(text: str) -> str:
    """The text without the passwords and queries (which may be signatures) of the URLs in it."""
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text)) if "://" in text else text


class SpkverError(Exception):
    """Base class of errors that are printed as one line, without a traceback and without credentials."""

    exit_code = 1

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(one) if isinstance(one, str) else one for one in args))


class InputError(SpkverError):
    """The input cannot be used. The message says what is wrong, where (file and line), and what to do."""

    exit_code = 2


class NewerFormatError(InputError):
    """The file format was introduced by a newer version of spkver."""


class RunError(SpkverError):
    """The input is valid, but the run failed."""

    exit_code = 1


class StoppedError(SpkverError):
    """The run was stopped by a signal (SIGTERM, SIGUSR1) after saving what it needs to resume. Not a failure."""

    exit_code = 143


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: `; did you mean 'x'?`, or the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


def load_optional(module: str, extra: str) -> ModuleType:
    """Import an optional dependency.

    Raises InputError naming the extra that installs it, if the import fails.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"this needs {module}: pip install 'spkver[{extra}]' ({error})") from error
