"""How utterances and speakers are named in feature packs of recordings that were made slower or faster."""

from __future__ import annotations

import re

_PREFIXED = re.compile(r"sp(\d+(?:\.\d+)?)-(.+)", re.DOTALL)


def at_speed(name: str, speed: float) -> str:
    """The name at a speed: `sp0.9-` before it, nothing at speed 1."""
    return name if speed == 1.0 else f"sp{speed:g}-{name}"


def of_speed(name: str) -> tuple[str, float]:
    """What `at_speed` was given."""
    found = _PREFIXED.fullmatch(name)
    return (found[2], float(found[1])) if found else (name, 1.0)
