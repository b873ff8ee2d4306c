from __future__ import annotations

import numpy as np
import pytest

from spkver import audio, quality
from spkver.verify.doubts import doubts


def words(*arguments) -> list[str]:
    return [line.split(":")[0].split(" ")[0] for line in doubts(*arguments)]


def test_good_recording_has_no_warning(voice):
    for pitch in (90, 150, 230):
        assert doubts(voice(pitch), 16000, 16000) == []
        assert doubts(audio.resample(voice(pitch), 16000, 44100), 44100, 16000) == []
        assert doubts(0.05 * voice(pitch), 16000, 16000) == []


def test_each_fault_gives_one_warning(voice):
    own = voice(120)
    assert words(own[:16000], 16000, 16000) == ["short"]
    noise = np.random.default_rng(0).normal(scale=0.05, size=len(own)).astype(np.float32)
    assert words(own + noise, 16000, 16000) == ["noisy"]
    assert words(np.clip(4 * own, -0.3, 0.3), 16000, 16000) == ["clipped"]
    narrow = audio.resample(own, 16000, 8000)
    assert words(narrow, 8000, 16000) == ["recorded"]
    assert words(audio.resample(narrow, 8000, 16000), 16000, 16000) == ["nothing"]


def test_digital_silence_is_reported_and_not_counted_as_speech(voice):
    """Zeros change neither the other warnings nor the measured speech."""
    own = voice(120)
    silent = np.zeros(len(own), np.float32)
    assert doubts(np.concatenate([own, silent[:16000]]), 16000, 16000) == []  # one fifth of it silent
    (said,) = doubts(np.concatenate([silent, own]), 16000, 16000)
    assert said.startswith("50 % digital silence")
    assert words(np.concatenate([own[:16000], silent]), 16000, 16000) == ["80", "short"]
    noise = np.random.default_rng(0).normal(scale=0.05, size=len(own)).astype(np.float32)
    assert words(np.concatenate([own + noise, silent]), 16000, 16000) == ["50", "noisy"]


def test_telephone_model_warns_of_wide_band_speech(voice):
    assert doubts(voice(120, rate=8000), 8000, 8000) == []
    assert words(voice(120), 16000, 8000) == ["recorded"]


@pytest.mark.parametrize("samples", [1, 100, 500, 3000])
def test_very_short_recording_is_reported_as_short(samples):
    noise = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    assert "short" in words(0.1 * noise, 16000, 16000)


@pytest.mark.parametrize(
    ("measure", "good", "doubtful", "said"),
    [
        ("speech_seconds", 2.0, 1.99, "short"),
        ("snr", 22.0, 21.99, "noisy"),
        ("clipped_share", 0.002, 0.00201, "clipped"),
        ("bandwidth", 4960.0, 4959.0, "nothing"),  # 0.62 of 8 kHz
        ("bandwidth", 0.0, 1.0, "nothing"),  # 0: not measured
    ],
)
def test_warning_starts_just_beyond_its_limit(voice, monkeypatch, measure, good, doubtful, said):
    """Tested on both sides of each limit."""
    own = voice(120)
    for value, expected in ((good, []), (doubtful, [said])):
        monkeypatch.setattr(quality, measure, lambda *args, value=value: value)
        assert words(own, 16000, 16000) == expected


def test_only_the_first_five_minutes_are_examined(monkeypatch):
    heard = []
    monkeypatch.setattr(quality, "speech_seconds", lambda waveform, rate: heard.append(len(waveform)) or 9.0)
    for seconds in (299, 301):
        doubts(np.zeros(seconds * 100, np.float32), 100, 100)
    assert heard == [29900, 30000]
