"""Test signals: noise and synthetic speech."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter


@pytest.fixture(scope="session")
def speech_like():
    """float32 (time,) in [-1, 1]: a gliding harmonic voice through moving formants, pauses, faint room noise."""

    def make(rate: int = 16000, seconds: float = 3.0, seed: int = 0) -> np.ndarray:
        random = np.random.default_rng(seed)
        time = np.arange(int(rate * seconds)) / rate
        pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
        pulses = np.diff(np.floor(np.cumsum(pitch) / rate), prepend=0.0)
        voice = np.zeros_like(time)
        block = rate // 10
        for first in range(0, len(time), block):  # another vowel every 0.1 s
            part = pulses[first : first + block]
            for centre, width in ((random.uniform(300, 800), 80), (random.uniform(900, 2300), 120), (2700, 160)):
                radius = np.exp(-np.pi * width / rate)
                part = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * centre / rate), radius**2], part)
            voice[first : first + block] = part
        voice *= (np.sin(2 * np.pi * 1.1 * time) > -0.5) / np.abs(voice).max()
        return (0.5 * voice + 1e-4 * random.normal(size=len(time))).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def noise():
    def make(rate: int = 16000, seconds: float = 3.0, seed: int = 0) -> np.ndarray:
        samples = 0.1 * np.random.default_rng(seed).normal(size=int(rate * seconds))
        return samples.astype(np.float32)

    return make
