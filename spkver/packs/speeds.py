"""Speed-perturbed copies in packs: their names, and which speeds are allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from spkver.errors import InputError

_PREFIXED = re.compile(r"sp(\d+(?:\.\d+)?)-(.+)", re.DOTALL)


def at_speed(name: str, speed: float) -> str:
    """The name with the prefix of a speed, e.g. `sp0.9-`; unchanged at speed 1."""
    return name if speed == 1.0 else f"sp{speed:g}-{name}"


def of_speed(name: str) -> tuple[str, float]:
    """Inverse of `at_speed`: (name, speed)."""
    found = _PREFIXED.fullmatch(name)
    return (found[2], float(found[1])) if found else (name, 1.0)


def check_speeds(speeds: Sequence[float]) -> None:
    """Raises InputError for a speed outside 0.5 to 2, for speed 1, and for a speed that is given twice."""
    for speed in speeds:
        if not 0.5 <= speed <= 2.0 or speed == 1.0:
            raise InputError(f"speed {speed:g}: expected a factor from 0.5 to 2 other than 1, e.g. 0.9")
    if len(set(speeds)) != len(speeds):
        raise InputError("a speed is given twice")
