"""All front ends ignore digital silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spkver.config import validate
from spkver.encoder import EncoderConfig
from spkver.features import FRONT_ENDS
from spkver.features.graph import graph
from spkver.features.silence import leave_out, silent_features, silent_frames, with_neighbours

SPECTRAL = [
    "fbank",
    "wespeaker",
    "3dspeaker",
    "telephone",
    "w2v_bert",
    "mel_spectrogram",
    "speechbrain",
    "nemo",
    "tf_mel",
]


def build(settings):
    return FRONT_ENDS.build(validate(EncoderConfig, {"front_end": settings}).front_end).eval()


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_other_frames_replace_silent_ones_and_repeat(silent):
    features = torch.arange(len(silent) * 2.0).reshape(1, -1, 2)
    kept = [row for row, is_silent in zip(features[0], silent) if not is_silent] or list(features[0])
    expected = torch.stack([kept[place % len(kept)] for place in range(len(silent))])
    assert torch.equal(leave_out(features, torch.tensor([silent]))[0], expected)


def test_rows_of_a_batch_are_independent():
    features = torch.randn(3, 5, 2)
    silent = torch.tensor([[False] * 5, [True, False, True, False, False], [True] * 5])
    out = leave_out(features, silent)
    for row in range(3):
        assert torch.equal(out[row : row + 1], leave_out(features[row : row + 1], silent[row : row + 1]))
    assert torch.equal(out[1], features[1, [1, 3, 4, 1, 3]])


@pytest.mark.parametrize("settings", SPECTRAL)
def test_recording_without_silence_is_unchanged(settings, noise, monkeypatch):
    front_end = build(settings)
    waveform = torch.from_numpy(noise(front_end.config.sample_rate))[None]
    waveform[0, 8000:8400] *= 1e-3  # a quiet pause is not digital silence
    with_it = front_end(waveform)
    for module in ("fbank", "spectrogram"):
        monkeypatch.setattr(f"spkver.features.{module}.leave_out", lambda features, silent: features)
    assert torch.equal(front_end(waveform), with_it)


@pytest.mark.parametrize("settings", SPECTRAL)
@pytest.mark.parametrize("where", ["before", "after", "in the middle"])
def test_zeros_hardly_change_the_features(settings, where, noise):
    """As many zeros as signal: all frames of the signal are unchanged, except those at the edges."""
    front_end = build(settings)
    rate = front_end.config.sample_rate
    signal = noise(rate, 1.0)
    zeros = np.zeros(rate, np.float32)
    half = rate // 2
    silenced = {
        "before": [zeros, signal],
        "after": [signal, zeros],
        "in the middle": [signal[:half], zeros, signal[half:]],
    }[where]
    alone = front_end(torch.from_numpy(signal)[None])[0]
    out = front_end(torch.from_numpy(np.concatenate(silenced))[None])[0]
    near = (torch.cdist(out, alone).min(dim=1).values < 0.15 * alone.std() * alone.shape[1] ** 0.5).float().mean()
    assert near > 0.9
    assert (out.mean(0) - alone.mean(0)).abs().max() < 0.1 * alone.std()
    assert abs(float(out.std() / alone.std()) - 1) < 0.1


@pytest.mark.parametrize("settings", [*SPECTRAL, "waveform"])
def test_waveform_of_silence_gives_finite_features(settings):
    front_end = build(settings)
    assert front_end(torch.zeros(2, 8000)).isfinite().all()


@pytest.mark.parametrize("settings", ["fbank", "wespeaker", "mel_spectrogram", "speechbrain", "waveform"])
def test_exported_front_end_gives_the_same_features(settings, noise):
    front_end = build(settings)
    waveform = torch.from_numpy(np.stack([noise(seed=1), noise(seed=2)]))
    waveform[0, 20000:] = 0
    torch.testing.assert_close(graph(front_end)(waveform), front_end(waveform), rtol=0, atol=2e-3)


def cut(signal):
    """Pieces of 10 ms, (1, pieces, 160)."""
    return torch.from_numpy(signal.astype(np.float32)).reshape(1, -1, 160)


@pytest.mark.parametrize("scale", [1.0, 32768.0])
def test_silent_frames_vary_by_at_most_one_step(scale):
    random = np.random.default_rng(0)
    loud = 0.5 * random.uniform(-1, 1, 1600)
    step = 1 / 32768
    for name, piece, silent in (
        ("zeros", np.zeros(160), True),
        ("a constant offset", np.full(160, 0.1), True),
        ("the last bit", step * random.integers(-1, 2, 160), True),
        ("what a codec makes of zeros", 1e-5 * random.normal(size=160), True),
        ("a pause in a quiet room", 1e-3 * random.normal(size=160), False),
        ("5 steps, 76 dB below", 5 * step * random.uniform(-0.5, 0.5, 160), False),
    ):
        found = silent_frames(cut(scale * np.concatenate([loud, piece])), scale)[0]
        assert found[-1] == silent, name
        assert not found[:-1].any()


def test_silence_limit_is_relative_to_the_recording():
    """In a quiet recording the last bit is signal, and for float samples the level does not matter."""
    random = np.random.default_rng(0)
    faint = np.concatenate([random.integers(-3, 4, 1600), random.integers(0, 2, 160)]) / 32768
    assert not silent_frames(cut(faint)).any()
    signal = np.concatenate([random.normal(size=1600), np.zeros(160), 1e-2 * random.normal(size=160)])
    for level in (1, 1e-3, 1e-6):
        assert silent_frames(cut(level * signal))[0].tolist() == [False] * 10 + [True, False]


def test_frames_next_to_silence_are_removed():
    """They contain less than half a frame of signal, and a click at its end."""
    silent = torch.tensor([[False, False, True, False, False, True, True], [False] * 7])
    expected = torch.tensor([[False, True, True, True, True, True, True], [False] * 7])
    assert torch.equal(with_neighbours(silent), expected)


def test_silence_is_found_despite_dither(noise):
    front_end = build({"dither": "1.0", "normalise": "none"}).train()
    waveform = torch.from_numpy(noise(seconds=1.0))[None]
    waveform[0, 8000:] = 0
    plain = front_end(waveform)[0]
    assert plain.amin() > 0  # the floor is -16; a frame of dither has 6
    torch.testing.assert_close(plain[51:99].mean(0), plain[:48].mean(0), rtol=0, atol=0.5)  # the signal, repeated


def test_silence_is_found_in_log_features(noise):
    """As computed by another program for an exported network, with or without mean subtraction."""
    front_end = build({"normalise": "none"})
    waveform = torch.from_numpy(noise(seconds=1.0))[None]
    waveform[0, 8000:] = 0
    features = front_end.fbank(waveform)
    expected = torch.arange(100) > 50
    assert torch.equal(silent_features(features, np.log(np.finfo(np.float32).eps))[0], expected)
    assert torch.equal(silent_features(features - features.mean(1, keepdim=True), -16.0)[0], expected)
    assert not silent_features(front_end.fbank(torch.from_numpy(noise())[None]), -16.0).any()
