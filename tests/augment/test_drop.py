"""SpeechBrain's DropFreq and DropChunk: equal to SpeechBrain with the same random numbers, and their effect."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from spkver import compat
from spkver.augment import WAVEFORM
from spkver.errors import InputError

try:
    compat.speechbrain()
    from speechbrain.augment.time_domain import DropChunk, DropFreq
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

RATE = 16000
THEIRS = {
    "drop_freq": (DropFreq(drop_freq_count_low=2, drop_freq_count_high=5), {"count": (2, 5)}),
    "drop_chunk": (DropChunk(1000, 2000, 1, 4), {"count": (1, 4), "seconds": (1000 / RATE, 2000 / RATE)}),
}


def noise(batch=6, samples=8000):
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", THEIRS)
def test_drop_equals_speechbrain_for_each_sample(name, build, change):
    module, keys = THEIRS[name]
    waveforms = noise()
    changed = change(build(WAVEFORM, name, probability=1, **keys), waveforms)
    random = np.random.default_rng(0)
    random.random(len(waveforms))  # the choice of changed samples
    for seed, row, found in zip(random.integers(1 << 62, size=len(waveforms)).tolist(), waveforms, changed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            expected = module(row[None], torch.ones(1)) if name == "drop_chunk" else module(row[None])
        torch.testing.assert_close(found, expected[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", THEIRS)
def test_drop_does_not_change_the_random_state_of_torch(name, build, change):
    before = torch.get_rng_state()
    change(build(WAVEFORM, name, probability=1), noise())
    assert torch.equal(torch.get_rng_state(), before)


def test_drop_freq_removes_only_a_band(build, change):
    spectra = torch.fft.rfft(noise(200), dim=1).abs()
    dropped = torch.fft.rfft(change(build(WAVEFORM, "drop_freq", probability=1, count=(1, 1)), noise(200)), dim=1)
    bands = (dropped.abs() / spectra)[:, :4000].unflatten(1, (40, 100)).median(dim=2).values  # bands of 200 Hz
    assert ((bands < 0.5).sum(dim=1) <= 4).all() and ((bands < 0.5).sum(dim=1) >= 1).float().mean() > 0.9
    assert ((bands > 0.9) & (bands < 1.1)).float().mean() > 0.8


def test_drop_chunk_zeros_intervals_of_the_configured_length(build, change):
    waveforms = torch.ones(200, 8000)
    zero = change(build(WAVEFORM, "drop_chunk", probability=1, count=(1, 1), seconds=(0.05, 0.1)), waveforms) == 0
    lengths = zero.sum(dim=1)
    assert lengths.min() >= 0.05 * RATE and lengths.max() <= 0.1 * RATE and lengths.unique().numel() > 100
    assert ((zero[:, 1:] != zero[:, :-1]).sum(dim=1) <= 2).all()  # one interval


def test_drop_chunk_accepts_samples_shorter_than_a_chunk(build, change):
    assert not change(build(WAVEFORM, "drop_chunk", probability=1, seconds=(1.0, 1.0)), noise(3, 400)).any()


def test_missing_speechbrain_is_an_input_error(build, monkeypatch):
    monkeypatch.setitem(sys.modules, "speechbrain", None)
    for name in THEIRS:
        with pytest.raises(InputError, match="this needs speechbrain: pip install speechbrain"):
            build(WAVEFORM, name)
