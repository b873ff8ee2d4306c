from __future__ import annotations

import numpy as np
import pytest

from spkver import audio
from spkver.verify.doubts import doubts


def words(*arguments) -> list[str]:
    return [line.split(":")[0].split(" ")[0] for line in doubts(*arguments)]


def test_a_good_recording(voice):
    for pitch in (90, 150, 230):
        assert doubts(voice(pitch), 16000, 16000) == []
        assert doubts(audio.resample(voice(pitch), 16000, 44100), 44100, 16000) == []
        assert doubts(0.05 * voice(pitch), 16000, 16000) == []


def test_one_fault_is_one_doubt(voice):
    own = voice(120)
    assert words(own[:16000], 16000, 16000) == ["short"]
    noise = np.random.default_rng(0).normal(scale=0.05, size=len(own)).astype(np.float32)
    assert words(own + noise, 16000, 16000) == ["noisy"]
    assert words(np.clip(4 * own, -0.3, 0.3), 16000, 16000) == ["clipped"]
    narrow = audio.resample(own, 16000, 8000)
    assert words(narrow, 8000, 16000) == ["recorded"]
    assert words(audio.resample(narrow, 8000, 16000), 16000, 16000) == ["nothing"]


def test_telephone_models(voice):
    assert doubts(voice(120, rate=8000), 8000, 8000) == []
    assert words(voice(120), 16000, 8000) == ["recorded"]


@pytest.mark.parametrize("samples", [1, 100, 500, 3000])
def test_tiny_recordings_are_short(samples):
    noise = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    assert "short" in words(0.1 * noise, 16000, 16000)
