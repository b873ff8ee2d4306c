from __future__ import annotations

import numpy as np
import torch
from scipy.signal import welch

from spkver.augment import WAVEFORM

RATE = 16000


def test_equaliser_applies_the_drawn_gains(build, change):
    """The ratio of the spectra, measured by scipy, is the drawn curve up to a constant level."""
    part = build(WAVEFORM, "equaliser", probability=1, gain_db=(-8, 8))
    noise = torch.randn(2, 20 * RATE, generator=torch.Generator().manual_seed(0))
    drawn = part.draw(2, np.arange(2), noise.shape[1], np.random.default_rng(3))
    hz, before = welch(noise.double().numpy(), RATE, nperseg=1024)
    _, after = welch(part(noise, drawn).double().numpy(), RATE, nperseg=1024)
    octaves = np.log2(np.maximum(hz, 62.5) / 62.5)
    for row in range(2):
        wanted = np.interp(octaves, np.arange(part.octaves), drawn["gain_db"][row].numpy())
        heard = 10 * np.log10(after[row] / before[row])
        inside = (hz > 150) & (hz < 7800)
        difference = (heard - wanted)[inside]
        assert np.abs(difference - np.median(difference)).max() < 0.5


def test_equaliser_keeps_alignment_and_level(build, change):
    part = build(WAVEFORM, "equaliser", probability=1)
    pulse = torch.zeros(3, 8000)
    pulse[:, 4000] = 0.5
    out = change(part, pulse)
    assert out.abs().argmax(1).tolist() == [4000] * 3
    torch.testing.assert_close(out.square().mean(1), pulse.square().mean(1))
    torch.testing.assert_close(out[:, 3951:4000].flip(1), out[:, 4001:4050], rtol=1e-4, atol=1e-4)  # zero phase


def test_equaliser_accepts_any_sample_rate(build):
    from spkver.augment.equaliser import Equaliser, EqualiserConfig

    for rate in (8000, 11025, 16000, 44100):
        part = Equaliser(EqualiserConfig(probability=1.0), rate, open)
        drawn = part.draw(2, np.arange(2), 4000, np.random.default_rng(0))
        assert part(torch.randn(2, 4000), drawn).isfinite().all()
