"""Names of speed-perturbed utterances and speakers in feature packs."""

from __future__ import annotations

import re

_PREFIXED = re.compile(r"sp(\d+(?:\.\d+)?)-(.+)", re.DOTALL)


def at_speed(name: str, speed: float) -> str:
    """The name with the prefix of a speed, e.g. `sp0.9-`; unchanged at speed 1."""
    return name if speed == 1.0 else f"sp{speed:g}-{name}"


def of_speed(name: str) -> tuple[str, float]:
    """Inverse of `at_speed`: (name, speed)."""
    found = _PREFIXED.fullmatch(name)
    return (found[2], float(found[1])) if found else (name, 1.0)
