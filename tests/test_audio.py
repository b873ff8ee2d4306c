"""Reading and writing recordings: samples equal those of libsndfile, and errors give the reason."""

import io
import math
import os
import re
import tracemalloc
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


def test_every_16_bit_value_is_read_exactly(tmp_path: Path) -> None:
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
        ("WAV", "PCM_U8", 0.999),
        ("WAV", "PCM_16", 1.0),
        ("WAV", "PCM_24", 1.0),
        ("WAV", "PCM_32", 1.0),
        ("WAV", "FLOAT", 1.0),
        ("WAV", "DOUBLE", 1.0),
        ("WAVEX", "PCM_16", 1.0),
        ("WAVEX", "PCM_24", 1.0),
        ("WAVEX", "FLOAT", 1.0),
        ("WAV", "ULAW", 0.99),
        ("NIST", "PCM_16", 1.0),
        ("NIST", "ULAW", 0.99),
        ("FLAC", "PCM_16", 1.0),
        ("FLAC", "PCM_24", 1.0),
        ("AIFF", "PCM_16", 1.0),
        ("CAF", "ALAC_16", 1.0),
        ("OGG", "VORBIS", 0.99),
        ("OGG", "OPUS", 0.98),
        ("MP3", "MPEG_LAYER_III", 0.98),
    ],
)
def test_read_gives_the_samples_of_every_format(
    tmp_path: Path, container: str, coding: str, least_correlation: float
) -> None:
    x = tone()
    path = tmp_path / "recording"
    soundfile.write(path, x, 16000, format=container, subtype=coding)
    y, rate = audio.read(path)
    assert (rate, len(y)) == (16000, 16000)
    assert np.corrcoef(x, y)[0, 1] >= least_correlation - 1e-6
    assert audio.seconds(path) == 1.0


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
def test_write_and_read_every_format(tmp_path: Path, suffix: str) -> None:
    x = tone()
    audio.write(tmp_path / f"x.{suffix}", x, 16000)
    y, _ = audio.read(tmp_path / f"x.{suffix}")
    if suffix in ("wav", "flac"):
        np.testing.assert_array_equal(y, audio.from_int16(audio.to_int16(x)))
    else:
        assert np.corrcoef(x, y)[0, 1] > 0.98


def test_write_rejects_an_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write the format '\.aac'"):
        audio.write(tmp_path / "x.aac", tone(), 16000)


@pytest.mark.parametrize(("old", "new"), [(8000, 16000), (44100, 16000), (48000, 16000), (16000, 8000), (11025, 16000)])
def test_resample_keeps_a_tone(tmp_path: Path, old: int, new: int) -> None:
    audio.write(tmp_path / "x.wav", tone(rate=old), old)
    y, rate = audio.read(tmp_path / "x.wav", new)
    assert (rate, len(y), y.dtype) == (new, new, np.float32)
    middle = slice(new // 10, -new // 10)
    np.testing.assert_allclose(y[middle], tone(rate=new)[middle], atol=2e-3)


@pytest.mark.parametrize("hz", [8200, 12000])
def test_resample_does_not_alias(hz: int) -> None:
    x = tone(2.0, 48000, hz)  # above half of the new sample rate
    assert np.abs(audio.resample(x, 48000, 16000)[1000:-1000]).max() < 1e-6 * np.abs(x).max()


@pytest.mark.parametrize(("samples", "expected"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (48000, 16000)])
def test_resample_rounds_the_length(samples: int, expected: int) -> None:
    assert audio.resample(np.ones(samples, np.float32), 48000, 16000).shape == (expected,)


def test_resample_is_deterministic() -> None:
    """The same samples give the same result, in any memory layout; the same rate changes nothing."""
    x = np.random.default_rng(0).normal(0, 0.1, 5000).astype(np.float32)
    first = audio.resample(x, 44100, 16000)
    np.testing.assert_array_equal(audio.resample(np.stack([x, x], axis=1)[:, 1], 44100, 16000), first)
    np.testing.assert_array_equal(audio.resample(x, 16000, 16000), x)


def test_rate_warning_names_unsuitable_sample_rates(tmp_path: Path) -> None:
    for rate in (8000, 16000, 44100):
        audio.write(tmp_path / f"{rate}.wav", tone(0.1, rate), rate)
    paths = [tmp_path / "8000.wav", tmp_path / "16000.wav", tmp_path / "none.wav", "cat 8000.wav |"]
    found = audio.sample_rates(paths)
    assert found == {8000: 1, 16000: 1}
    said = audio.rate_warning(found, 16000)
    assert said and said.startswith(
        "50% of the recordings have a sample rate below 16000 Hz (lowest 8000): they are upsampled"
    )
    assert "empty band above 4000 Hz misleads" in said
    said = audio.rate_warning(found, 8000)
    assert said and said.startswith(
        "50% of the recordings have a sample rate above 8000 Hz (highest 16000): they are downsampled"
    )
    assert audio.rate_warning(audio.sample_rates([tmp_path / "16000.wav", tmp_path / "44100.wav"]), 16000) is None
    assert audio.rate_warning(audio.sample_rates([]), 16000) is None
    assert len(audio.sample_rates([tmp_path / "8000.wav"] * 1000, most=10)) == 1


def test_read_part_of_a_recording(tmp_path: Path) -> None:
    x = np.arange(16000, dtype=np.int16)
    soundfile.write(tmp_path / "x.wav", x, 16000)
    y, _ = audio.read(tmp_path / "x.wav", start=0.29, end=0.57)
    np.testing.assert_array_equal(audio.to_int16(y), x[4640:9120])
    y, _ = audio.read(tmp_path / "x.wav", start=0.9, end=1.3)  # cut at the end of the recording, as in Kaldi
    np.testing.assert_array_equal(audio.to_int16(y), x[14400:])
    for start, end in ((1.5, 2.0), (0.5, 1.6), (-0.1, 0.5), (0.6, 0.5), (1.0, None)):
        with pytest.raises(InputError, match="no segment from"):
            audio.read(tmp_path / "x.wav", start=start, end=end)


def test_read_selects_a_channel(tmp_path: Path) -> None:
    x = np.arange(30, dtype=np.int16)[None].repeat(800, axis=0)
    soundfile.write(tmp_path / "array.wav", x, 16000)
    with pytest.raises(InputError, match=r"array\.wav: 30 channels; choose one from 0 to 29"):
        audio.read(tmp_path / "array.wav")
    assert audio.to_int16(audio.read(tmp_path / "array.wav", channel=17)[0]).tolist() == [17] * 800
    assert audio.to_int16(audio.read(tmp_path / "array.wav", channel=audio.MIX)[0]).tolist() == [14] * 800  # of 0 to 29
    assert audio.channels(tmp_path / "array.wav") == 30
    with pytest.raises(InputError, match="no channel 30"):
        audio.read(tmp_path / "array.wav", channel=30)


def whole(container: str, coding: str) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).normal(scale=0.1, size=32000).astype(np.float32)
    soundfile.write(stream, noise, 16000, format=container, subtype=coding)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("container", "coding"),
    [
        *(("WAV", coding) for coding in ("PCM_16", "ULAW", "FLOAT")),
        *((container, "PCM_16") for container in ("AIFF", "W64", "RF64", "AU", "NIST")),
    ],
)
def test_truncated_pcm_is_rejected(tmp_path: Path, container: str, coding: str) -> None:
    content = whole(container, coding)
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut: truncated"):
        audio.read(tmp_path / "cut")


@pytest.mark.parametrize(("container", "coding"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_truncated_compressed_audio_is_rejected(tmp_path: Path, container: str, coding: str) -> None:
    content = whole(container, coding)
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut: (cannot be decoded|truncated|empty)"):
        audio.read(tmp_path / "cut")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"RIFF", "cannot be decoded"), (b"no audio " * 99, "cannot be decoded")]
)
def test_file_without_audio_is_rejected_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"x\.wav: {reason}"):
        audio.read(tmp_path / "x.wav")


def test_missing_empty_and_non_finite_recordings_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        audio.read(tmp_path / "x.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.int16), 16000)
    with pytest.raises(InputError, match=r"none\.wav: empty"):
        audio.read(tmp_path / "none.wav")
    for bad in (np.nan, np.inf):
        x = tone()
        x[100] = bad
        soundfile.write(tmp_path / "nan.wav", x, 16000, subtype="FLOAT")
        with pytest.raises(InputError, match=r"nan\.wav: NaN"):
            audio.read(tmp_path / "nan.wav")


def test_float_file_with_unscaled_integers_is_rejected(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone() * 3, 16000, subtype="FLOAT")
    assert np.abs(audio.read(tmp_path / "x.wav")[0]).max() > 1.4  # values above 1 are kept
    soundfile.write(tmp_path / "x.wav", tone() * 32768, 16000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"x\.wav: a peak of 16\d+, where full scale is 1; divide the samples"):
        audio.read(tmp_path / "x.wav")


def test_unusable_gives_the_reason() -> None:
    assert audio.unusable(tone(), 16000, 0.3) is None
    assert audio.unusable(tone(0), 16000, 0.3) == "empty (no samples)"
    assert audio.unusable(tone(0.01), 16000, 0.3) == "too short (0.010 s, minimum 0.3 s)"
    assert audio.unusable(np.zeros(16000, np.float32), 16000, 0.3) == "silent"
    assert audio.unusable(np.full(16000, 0.25, np.float32), 16000, 0.3) == "silent"
    assert audio.unusable(tone() / 32768, 16000, 0.3) == "silent"
    assert audio.unusable(np.full(16000, np.nan, np.float32), 16000, 0.3) == "NaN or infinite samples"


def test_pipe_runs_only_when_allowed(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", tone(), 16000)
    command = f"cat '{tmp_path / 'x.wav'}' |"
    with pytest.raises(InputError, match="--allow-pipes"):
        audio.read(command)
    piped, _ = audio.read(command, allow_pipes=True)
    np.testing.assert_array_equal(piped, audio.read(tmp_path / "x.wav")[0])
    with pytest.raises(InputError, match="failed with code 3: gone"):
        audio.read("echo gone >&2; exit 3 |", allow_pipes=True)


@given(
    form=st.sampled_from(
        [
            ("WAV", "PCM_U8", 2**-7),
            ("WAV", "PCM_16", 2**-15),
            ("WAVEX", "PCM_24", 2**-22),
            ("FLAC", "PCM_24", 2**-22),
            ("NIST", "PCM_16", 2**-15),
            ("WAV", "FLOAT", 1e-7),
        ]
    ),
    rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]),
    channels=st.integers(1, 3),
    count=st.integers(1, 3000),
    level=st.floats(0, 1),
    offset=st.floats(-1, 1),
    seed=st.integers(0, 99),
)
def test_any_format_gives_its_samples(
    tmp_path_factory: pytest.TempPathFactory,
    form: tuple[str, str, float],
    rate: int,
    channels: int,
    count: int,
    level: float,
    offset: float,
    seed: int,
) -> None:
    """Of every bit depth, rate, number of channels and length; silent, clipped and close to zero."""
    container, coding, step = form
    x = np.random.default_rng(seed).normal(scale=level, size=(count, channels)) + offset
    x = np.clip(x, -1, 1 - 2 * step)
    path = tmp_path_factory.mktemp("form") / "x"
    soundfile.write(path, x, rate, format=container, subtype=coding)
    assert audio.seconds(path) == count / rate
    for channel in range(channels):
        y, found = audio.read(path, channel=channel)
        assert found == rate and y.dtype == np.float32
        np.testing.assert_allclose(y, x[:, channel], atol=1.6 * step)
        again, _ = audio.read(path, 16000, channel=channel)
        assert len(again) == int(count * 16000 / rate + 0.5)
    start = count // 3
    part, _ = audio.read(path, channel=0, start=start / rate)
    np.testing.assert_array_equal(part, audio.read(path, channel=0)[0][start:])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_every_sample_rate_is_resampled_to_16_khz(tmp_path: Path, rate: int) -> None:
    """A tone below half of both sample rates keeps its frequency and level."""
    audio.write(tmp_path / "x.wav", tone(1.0, rate, 1000.0), rate)
    y, _ = audio.read(tmp_path / "x.wav", 16000)
    np.testing.assert_allclose(y[1000:-1000], tone(1.0, 16000, 1000.0)[1000:-1000], atol=0.003)


SPHERE = """NIST_1A
   1024
channel_count -i 1
sample_count -i {count}
sample_rate -i 8000
sample_n_bytes -i 2
{more}end_head
"""


def sphere(count: int, more: str, present: int) -> bytes:
    header = SPHERE.format(count=count, more=more).encode()
    return header.ljust(1024) + np.arange(present, dtype="<i2").tobytes()


def test_sphere_is_read(tmp_path: Path) -> None:
    pcm = "sample_byte_format -s2 01\nsample_sig_bits -i 16\nsample_coding -s3 pcm\n"
    (tmp_path / "x.sph").write_bytes(sphere(4000, pcm, 4000))
    y, rate = audio.read(tmp_path / "x.sph")
    assert rate == 8000
    np.testing.assert_array_equal(audio.to_int16(y), np.arange(4000))
    (tmp_path / "x.sph").write_bytes(sphere(4000, pcm, 3000))
    with pytest.raises(InputError, match=r"x\.sph: truncated: 6000 of 8000 bytes of audio"):
        audio.read(tmp_path / "x.sph")
    (tmp_path / "x.sph").write_bytes(sphere(4000, pcm.replace("-s3 pcm", "-s26 pcm,embedded-shorten-v2.00"), 1000))
    with pytest.raises(InputError, match=r"x\.sph: SPHERE compressed with shorten; decode it first.*sph2pipe"):
        audio.read(tmp_path / "x.sph")


def test_headers_without_length_are_read_to_the_end(tmp_path: Path) -> None:
    """As written to a pipe: wav with the largest size, flac without a length."""
    content = bytearray(whole("WAV", "PCM_16"))
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "x.wav").write_bytes(content)
    assert len(audio.read(tmp_path / "x.wav")[0]) == 32000
    content = bytearray(whole("FLAC", "PCM_16"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "x.flac").write_bytes(content)
    assert len(audio.read(tmp_path / "x.flac")[0]) == 32000
    content[22:26] = b"\x7f\xff\xff\xff"
    (tmp_path / "x.flac").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.flac: (truncated|cannot be decoded|its header states)"):
        audio.read(tmp_path / "x.flac", max_seconds=math.inf)


@pytest.mark.parametrize("rate", [1, 1999, 192001, 2**31 - 1])
def test_invalid_sample_rate_in_a_header_is_rejected(tmp_path: Path, rate: int) -> None:
    content = bytearray(whole("WAV", "PCM_16"))
    content[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"its header states {rate} Hz; is it damaged"):
        audio.read(tmp_path / "x.wav", 16000)


def test_segment_of_a_very_long_recording_is_read(tmp_path: Path) -> None:
    """The length comes from the header, only the segment is decoded, and the whole recording is rejected unread."""
    with open(tmp_path / "day.wav", "wb") as stream:
        size = 24 * 3600 * 8000 * 2  # a sparse file
        header = whole("WAV", "PCM_16")[:44]
        stream.write(header[:24] + (8000).to_bytes(4, "little") + header[28:40] + size.to_bytes(4, "little"))
        stream.seek(44 + 23 * 3600 * 8000 * 2)
        stream.write(np.arange(8000, dtype="<i2").tobytes())
        stream.truncate(44 + size)
    assert audio.seconds(tmp_path / "day.wav") == 86400
    tracemalloc.start()
    part, _ = audio.read(tmp_path / "day.wav", start=23 * 3600, end=23 * 3600 + 1, max_seconds=60)
    with pytest.raises(InputError, match=r"day\.wav: too long \(86400\.0 s, maximum 60 s\); split it into segments"):
        audio.read(tmp_path / "day.wav", max_seconds=60)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    np.testing.assert_array_equal(audio.to_int16(part), np.arange(8000))


def test_path_that_is_no_file_is_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    for path, reason in [
        (tmp_path, "not a file"),
        (tmp_path / "pipe", "not a file"),
        (tmp_path / "x.wav" / "y", "no such file"),
        (tmp_path / ("long" * 100), "cannot be opened (File name too long)"),
        ("a\0b", "cannot be opened (the name contains a NUL)"),
    ]:
        with pytest.raises(InputError, match=re.escape(f"{path}: {reason}")):
            audio.read(path)


@pytest.mark.parametrize("seconds", [0.1, 1.0, 10.0])
def test_flac_followed_by_another_flac_is_rejected(tmp_path, seconds):
    """libFLAC silently stops at the end of the first."""
    path = tmp_path / "two.flac"
    waveform = 0.1 * np.random.default_rng(0).normal(size=round(16000 * seconds)).astype(np.float32)
    audio.write(path, waveform, 16000)
    one = path.read_bytes()
    path.write_bytes(one + bytes(500))
    assert len(audio.read(path)[0]) == len(waveform)
    path.write_bytes(one + one)
    with pytest.raises(InputError, match=r"two\.flac: contains another recording after the first"):
        audio.read(path)


def test_read_accepts_at_most_an_hour_by_default(tmp_path):
    """A header of 44 bytes can state more samples than fit into memory."""
    path = tmp_path / "day.wav"
    audio.write(path, np.zeros(100, np.float32), 2000)
    with path.open("r+b") as stream:
        stream.seek(40)
        stream.write((2 * 2000 * 3601).to_bytes(4, "little"))
        stream.truncate(44 + 2 * 2000 * 3601)
    with pytest.raises(InputError, match=r"too long \(3601.0 s, maximum 3600 s\)"):
        audio.read(path)
    assert len(audio.read(path, max_seconds=4000)[0]) == 2000 * 3601
