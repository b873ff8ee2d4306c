"""Waveforms, packs in memory, and fixtures that build and apply augmentations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spkver.augment import WAVEFORM
from spkver.config import validate

RATE = 16000


class Recordings:
    """An audio pack in memory."""

    def __init__(self, *waveforms: np.ndarray) -> None:
        self.path = Path("memory")
        self.lengths = np.array([len(waveform) for waveform in waveforms])
        self._waveforms = waveforms

    def crop(self, row: int, start: int, length: int) -> np.ndarray:
        assert 0 <= start <= start + length <= self.lengths[row]
        return self._waveforms[row][start : start + length]


@pytest.fixture
def build():
    """Build an augmentation: `build(registry, name, packs={"path": Recordings(...)}, key=value)`."""

    def make(registry, name, opened=None, **keys):
        config = validate(registry.get(name).Config, keys)
        if registry is WAVEFORM:
            return registry.build(config, RATE, (opened or {}).__getitem__)
        return registry.build(config, 80)

    return make


@pytest.fixture
def change():
    """Apply an augmentation with a seed; with `places`, only to those rows of the batch."""

    def apply(part, values, seed=0, places=None):
        places = np.arange(len(values)) if places is None else places
        drawn = part.draw(len(values), places, values.shape[1], np.random.default_rng(seed))
        return part(values[torch.from_numpy(places)], drawn)

    return apply


@pytest.fixture
def recordings():
    """The class of packs in memory."""
    return Recordings
