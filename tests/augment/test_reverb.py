"""Reverberation: measured decay, direct-to-reverberant ratio, level and alignment."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spkver.augment import WAVEFORM
from spkver.augment.reverb import convolve

RATE = 16000


def clicks(batch=8, samples=2 * RATE, at=100):
    waveform = torch.zeros(batch, samples)
    waveform[:, at] = 0.5
    return waveform


def responses(part, change, at=100):
    """The response to a click, starting at the click, scaled to 1 there: (batch, time) float64."""
    wet = change(part, clicks(at=at)).double().numpy()
    assert np.abs(wet[:, :at]).max() < 1e-6 * np.abs(wet).max()  # silent before the direct path
    return wet[:, at:] / wet[:, at : at + 1]


def rt60(response):
    """RT60 by Schroeder's backward integration: a line fitted to the decay from -5 to -25 dB."""
    tail = response[RATE // 500 :]
    left = np.cumsum(tail[::-1] ** 2)[::-1]
    decay = 10 * np.log10(left / left[0])
    part = (decay < -5) & (decay > -25)
    slope = np.polyfit(np.arange(len(tail))[part] / RATE, decay[part], 1)[0]
    return -60 / slope


@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0])
def test_simulated_room_has_its_decay_time(build, change, seconds):
    part = build(WAVEFORM, "reverb", probability=1, rt60=(seconds, seconds), direct_ratio_db=(-6, -6))
    measured = [rt60(response) for response in responses(part, change)]
    np.testing.assert_allclose(measured, seconds, rtol=0.15)


def test_drawn_decay_times_cover_their_range(build, change):
    part = build(WAVEFORM, "reverb", probability=1, rt60=(0.2, 0.8), direct_ratio_db=(-6, -6))
    wet = np.concatenate([change(part, clicks(), seed).numpy() for seed in range(5)]).astype(np.float64)
    measured = [rt60(one[100:]) for one in wet]
    assert 0.18 < min(measured) < 0.3 and 0.7 < max(measured) < 0.9


def test_simulated_room_has_its_direct_to_reverberant_ratio(build, change):
    part = build(WAVEFORM, "reverb", probability=1, direct_ratio_db=(3, 3))
    measured = -10 * np.log10(np.square(responses(part, change)[:, 1:]).sum(1))
    np.testing.assert_allclose(measured, 3, atol=1e-3)


def room(seconds, direct, samples=RATE, seed=0):
    """A response in a pack: silence, the direct path as the largest sample, then a decaying tail."""
    time = np.arange(samples) / RATE
    tail = np.random.default_rng(seed).normal(size=samples) * 10 ** (-3 * time / seconds)
    response = np.concatenate([np.zeros(direct), [1.0], 0.1 * tail])
    return (20000 * response).astype(np.int16)


@pytest.mark.parametrize("seconds", [0.3, 0.6])
def test_response_from_a_pack_is_aligned_to_its_direct_path(build, change, recordings, seconds):
    """Silence before the direct path adds no delay, and the decay is that of the response."""
    packs = {"r": recordings(*(room(seconds, direct, seed=direct) for direct in (0, 70, 900)))}
    part = build(WAVEFORM, "reverb", packs, probability=1, packs="r")
    found = responses(part, change)
    np.testing.assert_allclose([rt60(one) for one in found], seconds, rtol=0.15)
    np.testing.assert_array_equal(np.abs(found).argmax(1), 0)
    kinds = {tuple(np.round(one[:1000] * 20000).astype(int)) for one in found}
    assert 2 <= len(kinds) <= 3  # several rooms in one batch
    expected = room(seconds, 70, seed=70)[70 : 70 + RATE] / 20000
    assert min(np.abs(one[: len(expected)] - expected).max() for one in found) < 1e-4


def test_responses_of_any_length_are_accepted(build, change, recordings):
    packs = {"long": recordings(room(1.0, 10, 5 * RATE)), "short": recordings(np.array([0, 9, 3], np.int16))}
    long = responses(build(WAVEFORM, "reverb", packs, probability=1, packs="long", longest=0.25), change)
    assert np.abs(long[:, RATE // 4 :]).max() < 1e-5
    short = responses(build(WAVEFORM, "reverb", packs, probability=1, packs=["short"]), change)
    np.testing.assert_allclose(short[:, :3], [[1, 1 / 3, 0]] * 8, atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_reverberation_keeps_the_level(build, change, recordings, packed):
    waveform = torch.randn(6, 8000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 0, 6)[:, None]
    keys = {"packs": "r"} if packed else {}
    wet = change(build(WAVEFORM, "reverb", {"r": recordings(room(0.5, 30))}, probability=1, **keys), waveform)
    ratio = wet.square().mean(1) / waveform.square().mean(1)
    np.testing.assert_allclose(10 * np.log10(ratio), 0, atol=0.01)


def test_response_of_zeros_gives_finite_output(build, change, recordings):
    part = build(WAVEFORM, "reverb", {"r": recordings(np.zeros(50, np.int16))}, probability=1, packs="r")
    assert change(part, clicks()).isfinite().all()


@given(samples=st.integers(1, 300), taps=st.integers(1, 400), seed=st.integers(0, 99))
def test_convolution_equals_scipy(samples, taps, seed):
    random = np.random.default_rng(seed)
    waveform, response = (random.normal(size=(2, size)) for size in (samples, taps))
    mine = convolve(*(torch.from_numpy(one).float() for one in (waveform, response)))
    for row in range(2):
        theirs = np.convolve(waveform[row], response[row])[:samples]
        np.testing.assert_allclose(mine[row].numpy(), theirs, atol=1e-4)
