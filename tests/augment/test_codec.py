"""Codecs, measured on a chirp and on synthetic speech."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spkver.augment import CODECS
from spkver.config import validate
from spkver.errors import InputError

RATE = 16000


def build(name, **keys):
    return CODECS.build(validate(CODECS.get(name).Config, keys))


def code(name, waveform, rate=RATE, seed=0, **keys):
    return build(name, **keys)(waveform, rate, np.random.default_rng(seed))


def chirp(rate=RATE, seconds=3.0):
    """A chirp over the whole band."""
    time = np.arange(int(rate * seconds)) / rate
    return (0.4 * np.sin(np.pi * rate / 2 / seconds * time**2)).astype(np.float32)


def speech(rate=RATE, seconds=2.0, seed=0):
    """Harmonics of a varying pitch with formants, in syllables, as speech codecs expect."""
    random = np.random.default_rng(seed)
    time = np.arange(int(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(130 + 20 * np.sin(2 * np.pi * 1.3 * time)) / rate
    tone = sum(np.cos(n * phase) / (1 + ((n * 130 - 600) / 500) ** 2) for n in range(1, 25))
    tone = tone * np.clip(np.sin(2 * np.pi * 3 * time), 0, 1) + 0.01 * random.normal(size=len(time))
    return (0.3 * tone / np.abs(tone).max()).astype(np.float32)


def band_db(before, after, low, high, rate=RATE):
    """Change of the energy between two frequencies, in dB."""
    hz = np.fft.rfftfreq(len(before), 1 / rate)
    inside = (hz >= low) & (hz < high)
    energy = [np.square(np.abs(np.fft.rfft(one)[inside])).sum() for one in (before, after)]
    return 10 * np.log10(energy[1] / energy[0])


def snr_db(before, after):
    return 10 * np.log10(np.square(before).sum() / np.square(after - before).sum())


@pytest.mark.parametrize("name", list(CODECS))
@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_codec_keeps_length_level_and_alignment(name, rate):
    before = speech(rate)
    after = code(name, before, rate)
    assert after.shape == before.shape and after.dtype == np.float32 and np.isfinite(after).all()
    assert not np.array_equal(before, after)
    assert abs(10 * np.log10(np.square(after).sum() / np.square(before).sum())) < 1.5
    size = 1 << (2 * len(before) - 1).bit_length()
    product = np.fft.rfft(after, size) * np.fft.rfft(before, size).conj()
    assert np.argmax(np.abs(np.fft.irfft(product))) in (0, 1, size - 1)
    np.testing.assert_array_equal(after, code(name, before, rate))


@pytest.mark.parametrize("name", list(CODECS))
@settings(deadline=None, max_examples=3)
@given(samples=st.integers(1, 700))
def test_codec_accepts_short_and_silent_waveforms(name, samples):
    for waveform in (np.zeros(samples, np.float32), speech()[-samples:], np.full(samples, 3.0, np.float32)):
        after = code(name, waveform)
        assert after.shape == waveform.shape and np.isfinite(after).all()


@pytest.mark.parametrize("name", ["mu_law", "a_law", "gsm"])
def test_telephone_codec_removes_the_upper_band(name):
    before = chirp()
    after = code(name, before)
    assert band_db(before, after, 4400, 8000) < -20
    assert abs(band_db(before, after, 500, 3000)) < 3
    assert abs(band_db(chirp(8000), code(name, chirp(8000), 8000), 2500, 3300, 8000)) < 6  # no resampling at 8 kHz


@pytest.mark.parametrize("name", ["mu_law", "a_law"])
def test_g711_has_its_nominal_snr_at_most_levels(name):
    """Logarithmic coding has about 38 dB at most levels (ITU-T G.711); a uniform 8-bit code has less at low levels."""
    assert 34 < snr_db(speech(), code(name, speech(), sample_rate=RATE)) < 42
    soft = 0.3 * speech()
    assert snr_db(soft, code(name, soft, sample_rate=RATE)) > 10 + snr_db(soft, np.round(soft * 128) / 128)


def test_gsm_has_a_lower_snr_than_g711():
    before = speech(8000)
    assert 3 < snr_db(before, code("gsm", before, 8000)) < snr_db(before, code("mu_law", before, 8000)) - 10


@pytest.mark.parametrize(
    ("name", "key", "low", "high"),
    [
        ("opus", "kbit_per_second", 12, 64),
        ("mp3", "kbit_per_second", 16, 96),
        ("vorbis", "quality", 0, 1),
    ],
)
def test_higher_bit_rate_has_less_noise(name, key, low, high):
    before = speech()
    poor, rich = (snr_db(before, code(name, before, **{key: (much, much)})) for much in (low, high))
    assert poor + 3 < rich


@pytest.mark.parametrize(("name", "kbit"), [("opus", 24), ("opus", 64), ("mp3", 24), ("mp3", 64)])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_coded_file_has_the_requested_bit_rate(name, kbit, rate, monkeypatch):
    """Within a quarter of the requested rate, or of the lowest rate of MP3 at 44.1 kHz."""
    from spkver.augment import codec

    sizes = []
    write = codec.soundfile.write

    def weighed(stream, *args, **keys):
        write(stream, *args, **keys)
        sizes.append(stream.tell())

    monkeypatch.setattr(codec.soundfile, "write", weighed)
    before = chirp(rate, 2.0) + 0.1 * np.random.default_rng(0).normal(size=2 * rate).astype(np.float32)
    code(name, before, rate, kbit_per_second=(kbit, kbit))
    wanted = max(kbit, 32) if name == "mp3" and rate == 44100 else kbit
    assert 0.75 < sizes[0] * 8 / 2 / 1000 / wanted < 1.25


def test_band_codec_is_a_band_pass_filter():
    before = np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    after = code("band", before, low_hz=(300, 300), high_hz=(3400, 3400))
    assert abs(band_db(before, after, 500, 2500)) < 0.1
    assert band_db(before, after, 290, 310) == pytest.approx(-3, abs=1)
    assert band_db(before, after, 3350, 3450) == pytest.approx(-3, abs=1)
    assert band_db(before, after, 6800, 8000) < -35 and band_db(before, after, 20, 140) < -35
    open_ = code("band", before, low_hz=(0, 0), high_hz=(9000, 9000))
    np.testing.assert_allclose(open_, before, atol=1e-5)


def test_invalid_settings_are_rejected():
    with pytest.raises(InputError, match="from its lower to its upper end"):
        build("opus", kbit_per_second=(32, 8))
    with pytest.raises(InputError, match="did you mean 'kbit_per_second'"):
        build("mp3", kbits_per_second=(8, 32))
