from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spkver import compat
from spkver.augment import FEATURES, WAVEFORM
from spkver.augment.draw import WHITE, Crops, white
from spkver.augment.speed import change_speed
from spkver.errors import InputError

RATE = 16000


def voices(batch=4, samples=8000, seed=0):
    draws = torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))
    return 0.1 * draws * torch.linspace(0.1, 2, batch)[:, None]


def pcm(samples, seed=0, scale=3000):
    return (scale * np.random.default_rng(seed).normal(size=samples)).astype(np.int16)


def level_db(waveform):
    return 10 * waveform.double().square().mean(-1).log10()


# --- what holds for all -----------------------------------------------------------------------------------------------

STORED = {"packs": {"noise": "n", "music": "m", "babble": "b"}}
ALL = [
    *((registry, name, {}) for registry in (WAVEFORM, FEATURES) for name in registry),
    (WAVEFORM, "noise", STORED),
    (WAVEFORM, "noise", {"packs": {"babble": ["b", "m"]}, "shares": {"noise": 0}}),
    (WAVEFORM, "reverb", {"packs": "r"}),
]


@pytest.fixture
def make(build, recordings):
    noises = [pcm(length, seed) for seed, length in enumerate((300, 9000, 20000))]
    opened = {name: recordings(*noises) for name in "nmb"} | {"r": recordings(*(one[:4000] for one in noises))}
    return lambda registry, name, **keys: build(registry, name, opened, **keys)


def example(registry, batch=5):
    if registry is WAVEFORM:
        return voices(batch) * 10 ** torch.linspace(0, -3, 8000)  # falls by 60 dB, for the gate
    return torch.randn(batch, 100, 80, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("registry", "name", "keys"), ALL)
def test_same_draw_gives_the_same_result_without_changing_the_input(registry, name, keys, make, change):
    part, x = make(registry, name, probability=1, **keys), example(registry)
    before = x.clone()
    first = change(part, x)
    assert torch.equal(x, before)
    assert first.shape == x.shape and first.dtype == x.dtype
    assert torch.equal(first, change(part, x))
    assert not torch.equal(first, change(part, x, seed=1))


@pytest.mark.parametrize(("registry", "name", "keys"), ALL)
def test_probability_is_the_share_of_changed_samples(registry, name, keys, make, change):
    x = example(registry, 200)
    assert torch.equal(change(make(registry, name, probability=0, **keys), x), x)
    changed = (change(make(registry, name, probability=0.3, **keys), x) != x).flatten(1).any(1)
    assert 0.2 < changed.float().mean() < 0.4
    if registry is WAVEFORM:  # a mask may be of width 0
        assert (change(make(registry, name, probability=1, **keys), x) != x).flatten(1).any(1).all()


@pytest.mark.parametrize(("registry", "name", "keys"), ALL)
def test_augmentations_accept_a_batch_of_one_and_silence(registry, name, keys, make, change):
    part = make(registry, name, probability=1, **keys)
    assert change(part, example(registry, 1)).isfinite().all()
    for batch in (1, 5):
        assert change(part, torch.zeros_like(example(registry, batch))).isfinite().all()


@pytest.mark.parametrize(("registry", "name", "keys"), [one for one in ALL if one[1:] != ("noise", {})])
def test_part_of_a_batch_gets_the_same_as_in_the_whole(registry, name, keys, make, change):
    """So the number of processes does not matter, except for babble made from the batch."""
    part, x = make(registry, name, probability=0.5, **keys), example(registry, 12)
    places = np.array([7, 2, 11, 4])
    torch.testing.assert_close(change(part, x, places=places), change(part, x)[places], atol=1e-6, rtol=1e-5)


def test_coloured_noise_is_the_same_for_a_part_of_a_batch(make, change):
    part, x = make(WAVEFORM, "noise", shares={"babble": 0}), example(WAVEFORM, 12)
    torch.testing.assert_close(change(part, x, places=np.array([5, 3])), change(part, x)[[5, 3]], atol=1e-6, rtol=1e-5)


# --- speed ------------------------------------------------------------------------------------------------------------


SPEEDS = [0.5, 0.8, 0.9, 0.95, 1.1, 1.25, 2.0]


def tones(hz, samples=RATE):
    cycles = torch.tensor(hz, dtype=torch.float64)[:, None] * torch.arange(samples) / RATE
    return torch.sin(2 * torch.pi * cycles)


@given(speed=st.sampled_from(SPEEDS), samples=st.integers(1, 3000))
def test_speed_changes_the_duration(speed, samples):
    assert change_speed(voices(2, samples), speed).shape == (2, int(np.ceil(samples / speed - 1e-9)))


@pytest.mark.parametrize("speed", SPEEDS)
def test_speed_scales_frequencies(speed):
    played = change_speed(tones([150.0, 1000.0, 3000.0]).float(), speed)
    expected = tones([150.0 * speed, 1000.0 * speed, 3000.0 * speed], played.shape[1])
    inner = slice(500, -500)  # the ends are affected by zeros outside of the signal
    np.testing.assert_allclose(played[:, inner], expected[:, inner], atol=1e-5)


@pytest.mark.parametrize(("speed", "hz"), [(1.1, 7500.0), (1.25, 6800.0), (2.0, 4400.0)])
def test_speed_does_not_alias(speed, hz):
    """Without a low-pass filter, a tone beyond the band would be mirrored at half the sample rate."""
    assert level_db(change_speed(tones([hz]).float(), speed)[:, 500:-500]) < -100


def test_speed_1_changes_nothing_and_needs_no_torchaudio(monkeypatch):
    monkeypatch.setattr(compat, "torchaudio", lambda: pytest.fail("loads torchaudio"))
    waveform = voices()
    assert change_speed(waveform, 1.0) is waveform


# --- draws ------------------------------------------------------------------------------------------------------------


def test_pieces_of_packs_cover_the_recordings(recordings):
    ramp = np.arange(1000, dtype=np.int16)
    crops = Crops([recordings(ramp, ramp[:10]), recordings(-ramp)])
    assert len(crops) == 3 and len(Crops([])) == 0
    np.testing.assert_array_equal(crops.piece(0.1, 0.0, 5), ramp[:5])
    np.testing.assert_array_equal(crops.piece(0.99, 0.9999, 5), -ramp[-5:])
    np.testing.assert_array_equal(crops.piece(0.5, 0.75, 25), (np.arange(25) + 7) % 10)
    np.testing.assert_array_equal(crops.beginning(0.5, 25), ramp[:10])


def test_coloured_noise_of_slope_zero_is_white():
    first = torch.tensor([0, 5, WHITE - 10])
    noise = white(first, 1 << 16)
    torch.testing.assert_close(noise[0, 5:100], noise[1, :95])
    torch.testing.assert_close(noise[2, 10:110], noise[0, :100])
    long = white(first[1:2], 2 * WHITE + 9)
    assert long.shape == (1, 2 * WHITE + 9)
    torch.testing.assert_close(long[0, WHITE - 5 : WHITE + 5], torch.cat([long[0, WHITE - 5 : WHITE], long[0, :5]]))
    assert noise.std() == pytest.approx(1, abs=0.02) and abs(noise.mean()) < 0.02


# --- noise ------------------------------------------------------------------------------------------------------------

KINDS = ("noise", "music", "babble")


def only(kind):
    return {"shares": {other: float(other == kind) for other in KINDS}}


@pytest.mark.parametrize("keys", [{}, STORED], ids=["batch", "packs"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("snr", [-5.0, 0.0, 13.0])
def test_noise_has_the_requested_snr(make, change, keys, kind, snr):
    if kind == "music" and not keys:
        with pytest.raises(InputError, match="music needs a pack"):
            make(WAVEFORM, "noise", **only(kind))
        return
    part = make(WAVEFORM, "noise", probability=1, **keys, **only(kind), **{f"{kind}_snr_db": (snr, snr)})
    waveform = voices(8)
    measured = level_db(waveform) - level_db(change(part, waveform) - waveform)  # the speech does not change
    assert (measured - snr).abs().max() < 0.1


@pytest.mark.parametrize(("kind", "low", "high"), [("noise", 0, 15), ("music", 5, 15), ("babble", 13, 20)])
def test_drawn_snrs_cover_the_range_of_their_kind(make, change, kind, low, high):
    waveform = voices(300, 1000)
    noisy = change(make(WAVEFORM, "noise", probability=1, **STORED, **only(kind)), waveform)
    snr = level_db(waveform) - level_db(noisy - waveform)
    assert low - 0.1 < snr.min() < low + 0.3 and high - 0.3 < snr.max() < high + 0.1


def test_kinds_of_noise_follow_their_shares(build, change, recordings):
    """Each kind's pack contains another tone, which identifies it; noise has twice the share of music."""
    tones = {
        name: np.tile(np.array([4000, -4000], np.int16).repeat(half), 3000) for name, half in zip("nmb", (1, 2, 4))
    }
    keys = {"packs": {"noise": "n", "music": "m", "babble": "b"}, "shares": {"noise": 2, "music": 1, "babble": 0}}
    part = build(WAVEFORM, "noise", {name: recordings(tone) for name, tone in tones.items()}, probability=1, **keys)
    waveform = voices(400, 512)
    spectrum = torch.fft.rfft(change(part, waveform) - waveform).abs()
    peak = spectrum.argmax(1)
    counts = [(peak == place).sum().item() for place in (256, 128, 64)]
    assert sum(counts) == 400 and counts[2] == 0 and 1.5 < counts[0] / counts[1] < 2.7


def test_babble_of_packs_has_several_voices(build, change, recordings):
    """Each voice is another tone, so the spectrum of the added noise shows their number."""
    time = np.arange(4096)
    tones = [(8000 * np.sin(2 * np.pi * (10 + 20 * n) * time / 1024)).astype(np.int16) for n in range(20)]
    keys = {"packs": {"babble": "b"}, "babble_voices": (3, 5), "babble_snr_db": (0, 0)} | only("babble")
    part = build(WAVEFORM, "noise", {"b": recordings(*tones)}, probability=1, **keys)
    waveform = voices(60, 1024)
    spectrum = torch.fft.rfft(change(part, waveform) - waveform).abs()
    heard = (spectrum > 0.05 * spectrum.amax(1, keepdim=True)).sum(1)
    assert heard.max() <= 5 and heard.min() >= 1 and {3, 4, 5} <= set(heard.tolist())


def test_babble_of_the_batch_uses_other_samples(make, change):
    part = make(WAVEFORM, "noise", probability=1, babble_voices=(2, 2), **only("babble"))
    waveform = torch.zeros(5, 400)
    for row in range(5):
        waveform[row, row * 80 : (row + 1) * 80] = 1.0  # each row is active at another time
    added = change(part, waveform) - waveform
    for row in range(5):
        heard = added[row].reshape(5, 80).abs().sum(1) > 1e-3
        assert not heard[row] and heard.sum() == 2


def test_babble_of_a_batch_of_one_changes_nothing(make, change):
    part, alone = make(WAVEFORM, "noise", probability=1, **only("babble")), voices(1)
    assert torch.equal(change(part, alone), alone)


def test_coloured_noise_has_the_drawn_slope(make, change):
    part = make(WAVEFORM, "noise", probability=1, slope_db_per_octave=(-6, -6), **only("noise"))
    quiet = torch.full((20, 1 << 14), 1e-3) * torch.tensor([1.0, -1.0]).repeat(1 << 13)
    noise = change(part, quiet) - quiet
    power = torch.fft.rfft(noise).abs().square().mean(0)
    octaves = [10 * power[1 << k : 2 << k].mean().log10() for k in range(5, 13)]
    np.testing.assert_allclose(np.diff(octaves), -6, atol=1)


# --- masks ------------------------------------------------------------------------------------------------------------


def runs(line):
    """Lengths of the runs of zeros."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line, [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def test_masks_have_widths_within_their_limits(make, change):
    features = torch.rand(1500, 60, 80) + 1
    masked = change(make(FEATURES, "spec_augment", frequency_width=10, time_width=20), features)
    zero = masked == 0
    assert torch.equal(masked[~zero], features[~zero])
    bands = zero.all(dim=1)  # (batch, bins)
    stretches = zero.all(dim=2)
    assert torch.equal(zero, bands[:, None, :] | stretches[:, :, None])
    for mask, width in ((bands, 10), (stretches, 20)):
        lengths = [runs(line.int().numpy()) for line in mask]
        assert all(len(one) <= 1 for one in lengths)
        assert {sum(one) for one in lengths} == set(range(width + 1))
        assert mask.any(0).all()  # masks occur at every position
    assert len({tuple(line.int().tolist()) for line in bands}) > 100


def test_number_of_masks_is_as_configured(make, change):
    part = make(FEATURES, "spec_augment", frequency_masks=0, time_masks=3, time_width=5)
    masked = change(part, torch.ones(300, 100, 80)) == 0
    counts = [len(runs(line.int().numpy())) for line in masked[..., 0]]
    assert max(counts) == 3 and torch.equal(masked.any(-1), masked.all(-1))
    off = make(FEATURES, "spec_augment", frequency_masks=0, time_masks=0)
    assert (change(off, torch.ones(3, 10, 80)) == 1).all()


def test_masks_are_limited_to_the_features(make, change):
    part = make(FEATURES, "spec_augment", frequency_width=100, time_width=100)
    assert change(part, torch.ones(50, 5, 80)).shape == (50, 5, 80)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("noise", {"noise_snr_db": (20, 0)}),
        ("noise", {"babble_voices": (0, 3)}),
        ("noise", {"babble_voices": (4, 3)}),
        ("noise", {"shares": {"noise": 0, "babble": 0}}),
        ("noise", {"packs": {"nois": "a"}}),
        ("reverb", {"rt60": (0.0, 0.5)}),
        ("reverb", {"rt60": (0.5, 0.1)}),
        ("reverb", {"longest": 0}),
        ("noise", {"probability": 1.1}),
    ],
)
def test_invalid_settings_are_rejected(make, name, keys):
    with pytest.raises(InputError):
        make(WAVEFORM, name, **keys)
