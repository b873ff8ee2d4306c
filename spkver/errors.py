"""The kinds of failure a user can see, and their exit codes.

Everything that is the input's fault (a file, a key, a list, a recording) is an `InputError` and ends the
program with code 2; everything that went wrong while working (a non-finite loss, too many rejected
recordings) is a `RunError` and ends it with code 1. Both print one line: what, where, what to do.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class SpkverError(Exception):
    """Base of the errors that are printed as one line, without a traceback."""

    exit_code = 1


class InputError(SpkverError):
    """The input cannot be used as it is. Say what, where (file and line) and what to do."""

    exit_code = 2


class NewerFormatError(InputError):
    """The file is in a format that a later version of spkver introduced."""


class RunError(SpkverError):
    """The input was fine, the work failed."""

    exit_code = 1


class StoppedError(SpkverError):
    """Nothing failed: the run was asked to stop (SIGTERM, SIGUSR1), wrote what it takes to go on, and did."""

    exit_code = 143


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a word that is not known: `; did you mean 'x'?` or the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


def load_optional(module: str, extra: str) -> ModuleType:
    """Import an optional dependency when it is first used.

    Raises InputError naming the extra that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"this needs {module}: pip install 'spkver[{extra}]' ({error})") from error
