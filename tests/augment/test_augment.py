from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample_poly

from spkver.augment import FEATURES, WAVEFORM
from spkver.augment.reverb import convolve
from spkver.augment.speed import change_speed, ratio
from spkver.config import validate
from spkver.errors import InputError

RATE = 16000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(registry, name, **keys):
    return registry.build(validate(registry.get(name).Config, keys), *([RATE] if registry is WAVEFORM else []))


def voices(batch=4, samples=8000, seed=0):
    return 0.1 * torch.randn(batch, samples, generator=generator(seed)) * torch.linspace(0.1, 2, batch)[:, None]


def level_db(waveform):
    return 10 * waveform.double().square().mean(-1).log10()


# --- what holds for all -----------------------------------------------------------------------------------------------

ALL = [(WAVEFORM, name) for name in WAVEFORM] + [(FEATURES, name) for name in FEATURES]


def example(registry, batch=5):
    return voices(batch) if registry is WAVEFORM else torch.randn(batch, 100, 80, generator=generator(1))


@pytest.mark.parametrize(("registry", "name"), ALL)
def test_same_generator_same_result_not_in_place(registry, name):
    change, x = build(registry, name, probability=1), example(registry)
    before = x.clone()
    first = change(x, generator())
    assert torch.equal(x, before)
    assert first.shape == x.shape and first.dtype == x.dtype
    assert torch.equal(first, change(x, generator()))
    assert not torch.equal(first, change(x, generator(1)))


@pytest.mark.parametrize(("registry", "name"), ALL)
def test_probability(registry, name):
    x = example(registry, 200)
    assert torch.equal(build(registry, name, probability=0)(x, generator()), x)
    changed = (build(registry, name, probability=0.3)(x, generator()) != x).flatten(1).any(1)
    assert 0.2 < changed.float().mean() < 0.4


@pytest.mark.parametrize(("registry", "name"), ALL)
def test_a_batch_of_one_and_silence(registry, name):
    change = build(registry, name, probability=1)
    assert change(example(registry, 1), generator()).isfinite().all()
    assert change(torch.zeros_like(example(registry)), generator()).isfinite().all()


# --- speed ------------------------------------------------------------------------------------------------------------


@given(speed=st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.1, 1.25, 2.0]), samples=st.integers(1, 3000))
def test_speed_is_a_resampling(speed, samples):
    waveform = voices(2, samples)
    up, down = ratio(speed)
    theirs = resample_poly(waveform.double().numpy(), up, down, axis=1)
    mine = change_speed(waveform, speed)
    assert mine.shape == (2, int(np.ceil(samples / speed - 1e-9)))
    np.testing.assert_allclose(mine.numpy(), theirs, atol=2e-6)


def test_speed_one_changes_nothing():
    waveform = voices()
    assert change_speed(waveform, 1.0) is waveform


# --- noise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("babble", [0.0, 1.0])
@pytest.mark.parametrize("snr", [-5.0, 0.0, 13.0])
def test_ratio_of_signal_to_noise(babble, snr):
    both = {"noise_snr_db": (snr, snr), "babble_snr_db": (snr, snr)}
    waveform = voices(8)
    noisy = build(WAVEFORM, "noise", probability=1, babble_share=babble, **both)(waveform, generator())
    measured = level_db(waveform) - level_db(noisy - waveform)  # what is added leaves the speech as it was
    assert (measured - snr).abs().max() < 0.1


def test_drawn_ratios_fill_their_range():
    waveform = voices(300, 1000)
    change = build(WAVEFORM, "noise", probability=1, babble_share=0, noise_snr_db=(3, 9))
    snr = level_db(waveform) - level_db(change(waveform, generator()) - waveform)
    assert 2.9 < snr.min() < 3.3 and 8.7 < snr.max() < 9.1


def test_babble_is_of_the_others():
    change = build(WAVEFORM, "noise", probability=1, babble_share=1, babble_voices=2)
    waveform = torch.zeros(5, 400)
    for row in range(5):
        waveform[row, row * 80 : (row + 1) * 80] = 1.0  # each speaks at a time of its own
    added = change(waveform, generator()) - waveform
    for row in range(5):
        heard = added[row].reshape(5, 80).abs().sum(1) > 1e-3
        assert not heard[row] and heard.sum() == 2


def test_slope_of_coloured_noise():
    change = build(WAVEFORM, "noise", slope_db_per_octave=(-6, -6))
    noise = change._coloured(torch.zeros(20, 1 << 14), generator())
    power = torch.fft.rfft(noise).abs().square().mean(0)
    octaves = [10 * power[1 << k : 2 << k].mean().log10() for k in range(5, 13)]
    np.testing.assert_allclose(np.diff(octaves), -6, atol=1)


# --- reverberation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rt60", [0.2, 0.5, 1.0])
def test_decay_of_the_rooms(rt60):
    """Schroeder's backward integration: a line fitted from -5 to -25 dB of the tail's decay."""
    reverb = build(WAVEFORM, "reverb", rt60=(rt60, rt60), direct_ratio_db=(-6, -6))
    rooms = reverb.rooms(8, generator()).double().numpy()
    assert (rooms[:, 0] == 1).all()
    measured = []
    for room in rooms:
        tail = room[RATE // 500 :]
        left = np.cumsum(tail[::-1] ** 2)[::-1]
        decay = 10 * np.log10(left / left[0])
        part = (decay < -5) & (decay > -25)
        slope = np.polyfit(np.arange(len(tail))[part] / RATE, decay[part], 1)[0]
        measured.append(-60 / slope)
    np.testing.assert_allclose(measured, rt60, rtol=0.15)


def test_direct_to_reverberant_ratio():
    rooms = build(WAVEFORM, "reverb", direct_ratio_db=(3, 3)).rooms(5, generator())
    torch.testing.assert_close(-10 * rooms[:, 1:].square().sum(1).log10(), torch.full((5,), 3.0))


def test_reverberation_keeps_the_level():
    waveform = voices()
    wet = build(WAVEFORM, "reverb", probability=1)(waveform, generator())
    torch.testing.assert_close(level_db(wet), level_db(waveform), atol=0.01, rtol=0)


@given(samples=st.integers(1, 300), taps=st.integers(1, 400))
def test_convolution(samples, taps):
    waveform, response = voices(2, samples), voices(2, taps, 1)
    mine = convolve(waveform, response)
    for row in range(2):
        theirs = np.convolve(waveform[row].double().numpy(), response[row].double().numpy())[:samples]
        np.testing.assert_allclose(mine[row].numpy(), theirs, atol=1e-5)


# --- masks ------------------------------------------------------------------------------------------------------------


def runs(line):
    """Lengths of the stretches of zeros."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line, [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def test_masks():
    features = torch.rand(1500, 60, 40) + 1
    change = build(FEATURES, "spec_augment", frequency_width=10, time_width=20)
    masked = change(features, generator())
    zero = masked == 0
    assert torch.equal(masked[~zero], features[~zero])
    bands = zero.all(dim=1)  # (batch, bins)
    stretches = zero.all(dim=2)
    assert torch.equal(zero, bands[:, None, :] | stretches[:, :, None])
    for mask, width in ((bands, 10), (stretches, 20)):
        lengths = [runs(line.int().numpy()) for line in mask]
        assert all(len(one) <= 1 for one in lengths)
        assert {sum(one) for one in lengths} == set(range(width + 1))
        assert mask.any(0).all()  # everywhere in reach
    assert len({tuple(line.int().tolist()) for line in bands}) > 100


def test_number_of_masks():
    change = build(FEATURES, "spec_augment", frequency_masks=0, time_masks=3, time_width=5)
    masked = change(torch.ones(300, 100, 8), generator()) == 0
    counts = [len(runs(line.int().numpy())) for line in masked[..., 0]]
    assert max(counts) == 3 and torch.equal(masked.any(-1), masked.all(-1))
    off = build(FEATURES, "spec_augment", frequency_masks=0, time_masks=0)
    assert (off(torch.ones(3, 10, 8), generator()) == 1).all()


def test_masks_wider_than_the_features():
    change = build(FEATURES, "spec_augment", frequency_width=100, time_width=100)
    assert change(torch.ones(50, 5, 4), generator()).shape == (50, 5, 4)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("noise", {"noise_snr_db": (20, 0)}),
        ("reverb", {"rt60": (0.0, 0.5)}),
        ("reverb", {"rt60": (0.5, 0.1)}),
        ("noise", {"probability": 1.1}),
    ],
)
def test_settings_that_make_no_sense(name, keys):
    with pytest.raises(InputError):
        build(WAVEFORM, name, **keys)
