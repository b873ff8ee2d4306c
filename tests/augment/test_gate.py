from __future__ import annotations

import numpy as np
import torch

from spkver.augment import WAVEFORM
from spkver.augment.gate import Gate, GateConfig


def phrase():
    """Three samples of 0.5 s of tone, 1 s of noise 40 dB below it, 0.5 s of tone."""
    time = torch.arange(8000) / 16000
    tone = 0.3 * torch.sin(2 * torch.pi * 200 * time).repeat(3, 1)
    quiet = 0.003 / 2**0.5 * torch.randn(3, 16000, generator=torch.Generator().manual_seed(0))
    return torch.cat([tone, quiet, tone], dim=1)


def test_gate_zeros_pauses_and_keeps_speech(build):
    part = build(WAVEFORM, "gate", probability=1)
    waveform = phrase()
    drawn = {"rows": torch.arange(2), "below_db": torch.tensor([[30.0], [50.0]])}
    out = part(waveform, drawn)
    hold = 5 * 160
    assert (out[0, 8000 + hold : 24000 - hold] == 0).all()
    assert torch.equal(out[0, : 8000 + hold], waveform[0, : 8000 + hold])
    assert torch.equal(out[0, 24000 - hold :], waveform[0, 24000 - hold :])
    assert torch.equal(out[1:], waveform[1:])  # the pause is 40 dB below, and the last row was not chosen


def test_gate_accepts_any_length_and_rate():
    for rate in (8000, 16000, 44100):
        part = Gate(GateConfig(probability=1), rate, open)
        for length in (1, 100, 1234):
            drawn = part.draw(2, np.arange(2), length, np.random.default_rng(0))
            waveform = torch.randn(2, length)
            assert part(waveform, drawn).shape == waveform.shape
    assert torch.equal(part(torch.zeros(2, 500), drawn), torch.zeros(2, 500))
