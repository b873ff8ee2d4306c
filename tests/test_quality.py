from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import firwin, lfilter

from spkver import quality


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_bandwidth_finds_the_edge_of_a_low_pass_filter(rate, share):
    noise = np.random.default_rng(0).normal(scale=0.1, size=3 * rate)
    edge = share * rate / 2
    passed = lfilter(firwin(801, edge, fs=rate, window=("kaiser", 8.0)), 1, noise)
    assert quality.bandwidth(passed, rate) == pytest.approx(edge, abs=250)
    assert quality.bandwidth(noise, rate) == rate / 2


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(100), np.zeros(16000), np.ones(16000)])
def test_bandwidth_of_silence_is_zero(samples):
    assert quality.bandwidth(samples, 16000) == 0


def test_speech_seconds_counts_loud_parts():
    random = np.random.default_rng(0)
    loud = np.concatenate([random.normal(scale=0.1, size=32000), random.normal(scale=0.0001, size=48000)])
    assert quality.speech_seconds(loud.astype(np.float32), 16000) == pytest.approx(2, abs=0.1)
    assert quality.speech_seconds(np.zeros(10, np.float32), 16000) == 0
