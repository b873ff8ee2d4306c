from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver.features import EnergyVadConfig, energy_vad
from spkver.features.vad import log_energy


def kaldi_vad(energy: np.ndarray, config: EnergyVadConfig) -> list[bool]:
    """ComputeVadEnergy of Kaldi's ivector/voice-activity-detection.cc, statement by statement."""
    threshold = config.threshold
    if config.mean_scale != 0.0:
        threshold += config.mean_scale * energy.sum() / len(energy)
    voiced = []
    for t in range(len(energy)):
        above = frames = 0
        for t2 in range(t - config.context, t + config.context + 1):
            if 0 <= t2 < len(energy):
                frames += 1
                if energy[t2] > threshold:
                    above += 1
        voiced.append(above >= frames * config.proportion)
    return voiced


@given(
    seed=st.integers(0, 1000),
    frames=st.integers(3, 80),
    context=st.integers(0, 6),
    proportion=st.floats(0.05, 0.95),
    mean_scale=st.floats(0, 1),
)
def test_decides_as_kaldi_does(seed, frames, context, proportion, mean_scale):
    random = np.random.default_rng(seed)
    level = 10 ** random.uniform(-4, 0, size=frames).repeat(160)
    waveform = (level * random.uniform(-1, 1, size=len(level))).astype(np.float32)
    config = EnergyVadConfig(context=context, proportion=proportion, mean_scale=mean_scale)
    energy = log_energy(waveform, 16000, config)
    assert energy_vad(waveform, 16000, config).tolist() == kaldi_vad(energy, config)


@pytest.mark.parametrize("snip_edges", [False, True])
def test_energy_is_kaldis(speech_like, snip_edges):
    options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.snip_edges = 0.0, snip_edges
    options.use_energy, options.raw_energy, options.energy_floor = True, True, 0.0
    waveform = speech_like()
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(16000, (waveform * 32768).tolist())
    computer.input_finished()
    theirs = np.array([computer.get_frame(index)[0] for index in range(computer.num_frames_ready)])
    np.testing.assert_allclose(
        log_energy(waveform, 16000, EnergyVadConfig(snip_edges=snip_edges)), theirs, rtol=1e-4, atol=1e-3
    )


def test_pauses_are_found(speech_like):
    waveform = speech_like(seconds=4)
    speech = energy_vad(waveform, 16000)
    assert speech.shape == (400,) and speech.dtype == bool
    time = np.arange(400) / 100 + 0.005
    inside = np.sin(2 * np.pi * 1.1 * time) > -0.5
    assert (speech == inside).mean() > 0.9


def test_silence_and_noise():
    assert not energy_vad(np.zeros(16000, np.float32), 16000).any()
    with pytest.raises(ValueError, match="fewer than one frame"):
        energy_vad(np.zeros(100, np.float32), 16000)
