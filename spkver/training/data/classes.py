"""The classes of a training: speakers at speeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spkver.packs.speeds import of_speed


class Class(NamedTuple):
    """A class of the loss: a speaker at a speed."""

    speaker: str
    speed: float = 1.0

    @classmethod
    def of(cls, speaker: str, speed: float) -> Class:
        """The class of a speaker of a pack, whose name may include the speed at which the pack was made."""
        name, made_at = of_speed(speaker)
        return cls(name, round(speed * made_at, 6))

    def __str__(self) -> str:
        return self.speaker if self.speed == 1.0 else f"{self.speaker} at speed {self.speed:g}"


def classes_of(speakers: Sequence[str], speeds: Sequence[float]) -> tuple[list[Class], np.ndarray]:
    """The classes in the order of their labels, and the labels: int64 (speeds, speakers).

    A voice has one class at each speed: a pack's copy `sp0.9-ann` at speed 1 is the class of `ann` at speed 0.9.
    """
    each = [Class.of(speaker, speed) for speed in speeds for speaker in speakers]
    label = {one: number for number, one in enumerate(dict.fromkeys(each))}
    return list(label), np.array([label[one] for one in each], dtype=np.int64).reshape(len(speeds), len(speakers))
