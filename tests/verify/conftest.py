from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def voice():
    """Make a waveform like a voice: pulses of a pitch through resonances, with pauses and a little noise."""

    def make(pitch, seconds=4.0, rate=16000, seed=0):
        random = np.random.default_rng([seed, pitch])
        time = np.arange(int(seconds * rate)) / rate
        wave = sum(
            np.sin(2 * np.pi * pitch * k * time + random.uniform(0, 6)) / k for k in range(1, rate // 2 // pitch)
        )
        wave = wave * (time % 1 < 0.7) + 0.002 * random.normal(size=len(time))
        return (0.2 * wave / np.abs(wave).max()).astype(np.float32)

    return make


@pytest.fixture
def damaged():
    """Change a file, 300 times: `for _ in damaged(path)` finds it with one byte of its content another, or the same."""

    def each(path):
        content = path.read_bytes()
        random = np.random.default_rng(0)
        for _ in range(300):
            changed = bytearray(content)
            changed[random.integers(len(content))] = random.integers(256)
            path.write_bytes(bytes(changed))
            yield

    return each
