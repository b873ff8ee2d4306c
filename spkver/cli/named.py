"""Arguments NAME=PATH, which the commands that show several systems take."""

from __future__ import annotations

from collections.abc import Sequence

from spkver.errors import InputError


def named(given: Sequence[str], what: str) -> list[tuple[str, str]]:
    """Name and path of each argument. Raises InputError for one that is not NAME=`what`."""
    pairs = []
    for pair in given:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(f"'{pair}': expected NAME={what}")
        pairs.append((name, path))
    return pairs
