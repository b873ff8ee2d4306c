"""The filterbank compared with Kaldi's code (kaldi-native-fbank) and torchaudio's port of it."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spkver import compat
from spkver.config import validate
from spkver.errors import InputError
from spkver.features import FRONT_ENDS, FrontEnd, FrontEndConfig

PRESETS = {
    "default": {"name": "fbank"},
    "wespeaker": {"name": "wespeaker", "dither": 0.0},
    "telephone": {"name": "telephone"},
}


def config_of(name: str, **changes) -> FrontEndConfig:
    return validate(FRONT_ENDS, PRESETS[name] | {"normalise": "none"} | changes)


def ours(config: FrontEndConfig, waveform: np.ndarray) -> np.ndarray:
    return FrontEnd(config).eval()(torch.from_numpy(waveform)[None])[0].numpy()


def kaldi(config: FrontEndConfig, waveform: np.ndarray) -> np.ndarray:
    options = knf.FbankOptions()
    frame = options.frame_opts
    frame.samp_freq, frame.dither, frame.snip_edges = config.sample_rate, 0.0, config.snip_edges
    # Kaldi's name of the symmetric window; hann of kaldi-native-fbank is periodic
    frame.window_type = {"hann": "hanning"}.get(config.window, config.window)
    frame.preemph_coeff = config.preemphasis
    frame.remove_dc_offset = config.remove_dc
    frame.frame_length_ms, frame.frame_shift_ms = config.frame_length_ms, config.frame_shift_ms
    options.mel_opts.num_bins = config.bins
    options.mel_opts.low_freq, options.mel_opts.high_freq = config.low_hz, config.high_hz
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(config.sample_rate, (waveform * config.scale).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(index) for index in range(computer.num_frames_ready)])


@pytest.mark.parametrize("signal", ["noise", "speech_like"])
@pytest.mark.parametrize("name", PRESETS)
def test_fbank_equals_kaldi(request, name, signal):
    config = config_of(name)
    waveform = request.getfixturevalue(signal)(config.sample_rate)
    mine, theirs = ours(config, waveform), kaldi(config, waveform)
    assert mine.shape == theirs.shape
    difference = np.abs(mine - theirs)
    assert np.quantile(difference, 0.999) < 1e-3
    # larger differences are float32 rounding in bins far below the peak of the frame (natural log; 7 is 30 dB)
    below = mine.max(axis=1, keepdims=True) - mine
    assert (below[difference >= 1e-3] > 7).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"window": "hann", "bins": 40},
        {"window": "rectangular", "remove_dc": False},
        {"preemphasis": 0.0, "low_hz": 100.0, "high_hz": 4000.0, "bins": 23},
        {"frame_length_ms": 20.0, "frame_shift_ms": 7.5},
        {"sample_rate": 44100, "high_hz": 16000.0},
    ],
)
@pytest.mark.parametrize("snip_edges", [False, True])
def test_fbank_settings_equal_those_of_kaldi(noise, changes, snip_edges):
    config = config_of("default", snip_edges=snip_edges, **changes)
    waveform = noise(config.sample_rate, 0.5)
    mine, theirs = ours(config, waveform), kaldi(config, waveform)
    assert mine.shape == theirs.shape
    assert np.quantile(np.abs(mine - theirs), 0.999) < 1e-3


@pytest.mark.parametrize("signal", ["noise", "speech_like"])
@pytest.mark.parametrize("name", PRESETS)
def test_fbank_equals_torchaudio(request, name, signal):
    try:
        compat.torchaudio()
        from torchaudio.compliance.kaldi import fbank
    except InputError as error:
        pytest.skip(str(error))
    config = config_of(name)
    waveform = request.getfixturevalue(signal)(config.sample_rate)
    theirs = fbank(
        torch.from_numpy(waveform)[None] * config.scale,
        sample_frequency=config.sample_rate,
        num_mel_bins=config.bins,
        low_freq=config.low_hz,
        high_freq=config.high_hz,
        window_type=config.window,
        snip_edges=config.snip_edges,
        dither=0.0,
    ).numpy()
    assert np.quantile(np.abs(ours(config, waveform) - theirs), 0.999) < 1e-3


def test_fbank_of_digital_silence_is_the_floor():
    silent = np.zeros(4000, np.float32)
    np.testing.assert_allclose(ours(config_of("default"), silent), np.log(np.finfo(np.float32).eps), rtol=1e-6)
    np.testing.assert_allclose(ours(FrontEndConfig(), silent), 0.0, atol=1e-5)


@given(samples=st.integers(400, 40000), snip_edges=st.booleans(), rate=st.sampled_from([8000, 16000, 44100]))
def test_number_of_frames_equals_kaldi(samples, snip_edges, rate):
    config = FrontEndConfig(sample_rate=rate, high_hz=3600.0, snip_edges=snip_edges)
    options = knf.FrameExtractionOptions()
    options.samp_freq, options.snip_edges = rate, snip_edges
    # a transcription of Kaldi's NumFrames (feat/feature-window.cc)
    shift, length = int(rate * 0.001 * options.frame_shift_ms), int(rate * 0.001 * options.frame_length_ms)
    if snip_edges:
        expected = 0 if samples < length else 1 + (samples - length) // shift
    else:
        expected = (samples + shift // 2) // shift
    assert config.frames(samples) == expected
    assert (config.frame_length, config.frame_shift) == (length, shift)


@given(frames=st.integers(1, 500), snip_edges=st.booleans(), rate=st.sampled_from([8000, 11025, 16000]))
def test_samples_is_the_smallest_length_with_the_frames(frames, snip_edges, rate):
    config = FrontEndConfig(sample_rate=rate, high_hz=3600.0, snip_edges=snip_edges)
    samples = config.samples(frames)
    assert samples >= config.frame_length and config.frames(samples) >= frames
    assert samples == config.frame_length or config.frames(samples - 1) < frames


@pytest.mark.parametrize("snip_edges", [False, True])
def test_fbank_of_the_shortest_input(snip_edges):
    front_end = FrontEnd(FrontEndConfig(snip_edges=snip_edges)).eval()
    least = front_end.config.samples(1)
    features = front_end(torch.randn(1, least))
    assert features.shape[1] == front_end.frames(least) and features.isfinite().all()
    with pytest.raises(ValueError, match="fewer than one frame"):
        front_end(torch.randn(1, 399))


def test_fbank_of_a_batch_equals_its_rows(noise, speech_like):
    front_end = FrontEnd(FrontEndConfig()).eval()
    batch = torch.from_numpy(np.stack([noise(seed=1), speech_like(), noise(seed=2)]))
    rows = torch.cat([front_end(row[None]) for row in batch])
    assert torch.equal(front_end(batch), rows)


def test_fbank_is_float32_under_autocast(speech_like):
    front_end = FrontEnd(FrontEndConfig()).eval()
    waveform = torch.from_numpy(speech_like())[None]
    with torch.autocast("cpu", torch.bfloat16):
        features = front_end(waveform)
    assert features.dtype == torch.float32
    assert torch.equal(features, front_end(waveform))


def test_dither_is_used_in_training_only(noise):
    front_end = FrontEnd(config_of("default", dither=1.0))
    waveform = torch.from_numpy(noise())[None]
    assert torch.equal(front_end.eval()(waveform), FrontEnd(config_of("default")).eval()(waveform))
    trained = front_end.train()(waveform)
    assert not torch.equal(trained, front_end(waveform))
    # a frame of dither has about the energy of unit noise, not the floor of silence
    assert front_end(torch.zeros(1, 4000)).mean() > 0


def test_normalisation_subtracts_mean_and_divides_by_deviation(speech_like):
    waveform = torch.from_numpy(speech_like())[None]
    plain, mean, both = (
        FrontEnd(FrontEndConfig(normalise=how)).eval()(waveform)[0] for how in ("none", "mean", "mean_variance")
    )
    torch.testing.assert_close(mean, plain - plain.mean(0))
    torch.testing.assert_close(both.std(0, correction=0), torch.ones(80), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_rate": 8000}, "`front_end: telephone`"),
        ({"low_hz": 5000.0, "high_hz": 4000.0}, "must rise"),
        ({"frame_shift_ms": 30.0}, "must not exceed"),
        ({"frame_shift_ms": 0.01}, "too short"),
        ({"window": "blackman"}, "povey"),
    ],
)
def test_invalid_settings_are_rejected(settings, message):
    with pytest.raises(InputError, match=message):
        validate(FrontEndConfig, settings)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100])
def test_nyquist_bin_has_no_weight(rate):
    """Kaldi omits it even if the band includes it, so a tone there adds nothing."""
    config = config_of("default", sample_rate=rate, high_hz=rate / 2, bins=23, remove_dc=False, preemphasis=0.0)
    front_end = FrontEnd(config)
    assert not front_end.mel[-1].any() and front_end.mel[1:-1].any()
    tone = 0.3 * np.tile([1.0, -1.0], rate // 4).astype(np.float32)
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(tone)).astype(np.float32)
    mine, theirs = ours(config, noise + tone), kaldi(config, noise + tone)
    assert np.quantile(np.abs(mine - theirs), 0.99) < 2e-3
