"""Reading recordings: what comes back is what libsndfile holds, and what cannot serve says why."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from spkver import audio
from spkver.errors import InputError


def tone(seconds: float = 1.0, rate: int = 16000, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_every_16_bit_value_survives_reading_and_packing(tmp_path: Path) -> None:
    samples = np.arange(-32768, 32768).astype(np.int16)
    soundfile.write(tmp_path / "all.wav", samples, 16000, subtype="PCM_16")
    waveform, rate = audio.read(tmp_path / "all.wav")
    assert rate == 16000
    assert waveform.dtype == np.float32
    assert waveform.min() == -1
    assert waveform.max() < 1
    np.testing.assert_array_equal(audio.to_int16(waveform), samples)
    np.testing.assert_array_equal(audio.from_int16(samples), waveform)


@given(st.lists(st.floats(-4, 4, width=32), min_size=1))
def test_to_int16_rounds_and_clips(values: list[float]) -> None:
    exact = np.clip(np.rint(np.array(values, np.float64) * 32768), -32768, 32767)
    np.testing.assert_array_equal(audio.to_int16(np.array(values, np.float32)), exact)


@pytest.mark.parametrize(
    ("container", "coding", "least_correlation"),
    [
        ("WAV", "PCM_24", 1.0),
        ("WAV", "ULAW", 0.99),
        ("FLAC", "PCM_16", 1.0),
        ("AIFF", "PCM_16", 1.0),
        ("CAF", "ALAC_16", 1.0),
        ("OGG", "VORBIS", 0.99),
        ("OGG", "OPUS", 0.98),
        ("MP3", "MPEG_LAYER_III", 0.98),
    ],
)
def test_formats(tmp_path: Path, container: str, coding: str, least_correlation: float) -> None:
    x = tone()
    path = tmp_path / "recording"
    soundfile.write(path, x, 16000, format=container, subtype=coding)
    y, rate = audio.read(path)
    assert (rate, len(y)) == (16000, 16000)
    assert np.corrcoef(x, y)[0, 1] >= least_correlation - 1e-6
    assert audio.seconds(path) == 1.0


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
def test_write(tmp_path: Path, suffix: str) -> None:
    x = tone()
    audio.write(tmp_path / f"x.{suffix}", x, 16000)
    y, _ = audio.read(tmp_path / f"x.{suffix}")
    if suffix in ("wav", "flac"):
        np.testing.assert_array_equal(y, audio.from_int16(audio.to_int16(x)))
    else:
        assert np.corrcoef(x, y)[0, 1] > 0.98


def test_write_refuses_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write '\.aac'"):
        audio.write(tmp_path / "x.aac", tone(), 16000)


@pytest.mark.parametrize(("old", "new"), [(8000, 16000), (44100, 16000), (48000, 16000), (16000, 8000), (11025, 16000)])
def test_resampling_keeps_a_tone(tmp_path: Path, old: int, new: int) -> None:
    audio.write(tmp_path / "x.wav", tone(rate=old), old)
    y, rate = audio.read(tmp_path / "x.wav", new)
    assert (rate, len(y), y.dtype) == (new, new, np.float32)
    middle = slice(new // 10, -new // 10)
    np.testing.assert_allclose(y[middle], tone(rate=new)[middle], atol=2e-3)


def test_resampling_does_not_alias() -> None:
    x = tone(rate=48000, hz=12000)  # above half of the new rate
    assert np.abs(audio.resample(x, 48000, 16000)[500:-500]).max() < 1e-3


def test_a_part(tmp_path: Path) -> None:
    x = np.arange(16000, dtype=np.int16)
    soundfile.write(tmp_path / "x.wav", x, 16000)
    y, _ = audio.read(tmp_path / "x.wav", start=0.29, end=0.57)
    np.testing.assert_array_equal(audio.to_int16(y), x[4640:9120])
    y, _ = audio.read(tmp_path / "x.wav", start=0.9, end=1.3)  # as Kaldi: cut at the end of the recording
    np.testing.assert_array_equal(audio.to_int16(y), x[14400:])
    for start, end in ((1.5, 2.0), (0.5, 1.6), (-0.1, 0.5), (0.6, 0.5), (1.0, None)):
        with pytest.raises(InputError, match="no part from"):
            audio.read(tmp_path / "x.wav", start=start, end=end)


def test_channels(tmp_path: Path) -> None:
    x = np.arange(30, dtype=np.int16)[None].repeat(800, axis=0)
    soundfile.write(tmp_path / "array.wav", x, 16000)
    with pytest.raises(InputError, match=r"array\.wav: 30 channels; choose one with channel=0 to 29"):
        audio.read(tmp_path / "array.wav")
    assert audio.to_int16(audio.read(tmp_path / "array.wav", channel=17)[0]).tolist() == [17] * 800
    with pytest.raises(InputError, match="no channel 30"):
        audio.read(tmp_path / "array.wav", channel=30)


def whole(container: str, coding: str) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).normal(scale=0.1, size=32000).astype(np.float32)
    soundfile.write(stream, noise, 16000, format=container, subtype=coding)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("container", "coding"), [("WAV", "PCM_16"), ("WAV", "ULAW"), ("AIFF", "PCM_16"), ("W64", "PCM_16")]
)
def test_truncated_pcm_is_named(tmp_path: Path, container: str, coding: str) -> None:
    content = whole(container, coding)
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut: truncated"):
        audio.read(tmp_path / "cut")


@pytest.mark.parametrize(("container", "coding"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_truncated_streams_are_named(tmp_path: Path, container: str, coding: str) -> None:
    content = whole(container, coding)
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut: (cannot be decoded|truncated|empty)"):
        audio.read(tmp_path / "cut")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"RIFF", "cannot be decoded"), (b"no audio " * 99, "cannot be decoded")]
)
def test_what_is_no_audio_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"x\.wav: {reason}"):
        audio.read(tmp_path / "x.wav")


def test_missing_empty_and_non_finite(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        audio.read(tmp_path / "x.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.int16), 16000)
    with pytest.raises(InputError, match=r"none\.wav: empty"):
        audio.read(tmp_path / "none.wav")
    for bad in (np.nan, np.inf):
        x = tone()
        x[100] = bad
        soundfile.write(tmp_path / "nan.wav", x, 16000, subtype="FLOAT")
        with pytest.raises(InputError, match=r"nan\.wav: holds NaN"):
            audio.read(tmp_path / "nan.wav")


def test_unusable() -> None:
    assert audio.unusable(tone(), 16000, 0.3) is None
    assert audio.unusable(tone(0), 16000, 0.3) == "empty (no samples)"
    assert audio.unusable(tone(0.01), 16000, 0.3) == "too short (0.010 s, at least 0.3 s wanted)"
    assert audio.unusable(np.zeros(16000, np.float32), 16000, 0.3) == "silent"
    assert audio.unusable(np.full(16000, 0.25, np.float32), 16000, 0.3) == "silent"
    assert audio.unusable(tone() / 32768, 16000, 0.3) == "silent"
    assert audio.unusable(np.full(16000, np.nan, np.float32), 16000, 0.3) == "NaN or infinite samples"


def test_pipes_run_only_when_allowed(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", tone(), 16000)
    command = f"cat '{tmp_path / 'x.wav'}' |"
    with pytest.raises(InputError, match="--allow-pipes"):
        audio.read(command)
    piped, _ = audio.read(command, allow_pipes=True)
    np.testing.assert_array_equal(piped, audio.read(tmp_path / "x.wav")[0])
    with pytest.raises(InputError, match="failed with code 3: gone"):
        audio.read("echo gone >&2; exit 3 |", allow_pipes=True)
