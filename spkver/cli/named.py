"""Arguments NAME=PATH of the commands that show several systems."""

from __future__ import annotations

from collections.abc import Sequence

from spkver.errors import InputError


def named(given: Sequence[str], what: str) -> list[tuple[str, str]]:
    """Name and path of each argument. Raises InputError if one does not have the form NAME=`what`."""
    pairs = []
    for pair in given:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(f"'{pair}': expected NAME={what}")
        pairs.append((name, path))
    return pairs
