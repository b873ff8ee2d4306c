"""Formats read by FFmpeg (extra `m4a`): samples, damaged files, and errors without the extra."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from spkver import audio
from spkver.errors import InputError

RATE = 16000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(40000) / RATE)).astype(np.float32)


def write(path: Path, channels: np.ndarray, **options: str) -> None:
    av = pytest.importorskip("av")
    layout = "mono" if len(channels) == 1 else "stereo"
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("aac", rate=RATE, layout=layout)
        for at in range(0, channels.shape[1], 1024):
            block = np.ascontiguousarray(channels[:, at : at + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = RATE, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_m4a_is_read_with_its_length_and_samples(tmp_path: Path) -> None:
    path = tmp_path / "x.m4a"
    write(path, TONE[None])
    y, rate = audio.read(path)
    assert rate == RATE and len(y) == len(TONE) and audio.seconds(path) == 2.5
    assert np.corrcoef(y, TONE)[0, 1] > 0.99  # not shifted by the delay of the encoder
    part, _ = audio.read(path, start=1.0, end=1.5)
    np.testing.assert_array_equal(part, y[16000:24000])
    assert len(audio.read(path, 8000)[0]) == 20000
    with pytest.raises(InputError, match="too long"):
        audio.read(path, max_seconds=1)


def test_first_packet_of_m4a_is_decoded(tmp_path: Path) -> None:
    """The decoder needs the first packet for the second; an edit list removes it from the audio."""
    write(tmp_path / "x.m4a", TONE[None])
    assert b"elst" in (tmp_path / "x.m4a").read_bytes()
    import av

    with av.open(str(tmp_path / "x.m4a")) as container:
        plain = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    y, _ = audio.read(tmp_path / "x.m4a")
    np.testing.assert_array_equal(y, plain[: len(TONE)])
    assert np.corrcoef(y[:1024], TONE[:1024])[0, 1] > 0.98


CODINGS = {  # suffix: FFmpeg's container and encoder
    "webm": ("webm", "libopus", 48000),
    "mkv": ("matroska", "aac", 16000),
    "aac": ("adts", "aac", 16000),
    "amr": ("amr", "libopencore_amrnb", 8000),
    "wma": ("asf", "wmav2", 16000),
    "oga": ("ogg", "flac", 16000),
}


def encode(suffix: str, x: np.ndarray, live: bool = False) -> bytes:
    """x: float (time,); live: write to a stream without seeking, so that headers state no length."""
    av = pytest.importorskip("av")
    container, coding, rate = CODINGS[suffix]
    if coding not in av.codecs_available:
        pytest.skip(f"PyAV without {coding}")

    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return not live

    stream = Stream()
    if live:
        stream.seek = None  # type: ignore[method-assign,assignment]
    with av.open(stream, "w", format=container) as out:
        track = out.add_stream(coding, rate=rate, layout="mono")
        track.bit_rate = 12200 if rate == 8000 else 48000
        samples = audio.to_int16(x.astype(np.float32))[None]
        resampler = av.AudioResampler(track.format, "mono", rate, track.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(track.encode(part))
        out.mux(track.encode(None))
    return stream.getvalue()


@pytest.mark.parametrize("suffix", CODINGS)
@pytest.mark.parametrize("live", [False, True])
def test_other_formats_are_read_completely(tmp_path: Path, suffix: str, live: bool) -> None:
    rate = CODINGS[suffix][2]
    x = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate * 2) / rate)
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(encode(suffix, x, live))
    y, found = audio.read(path)
    assert found == rate and abs(len(y) - len(x)) < 0.15 * rate and abs(audio.seconds(path) - 2) < 0.15
    middle = y[rate // 2 : rate]
    assert np.abs(np.fft.rfft(middle)).argmax() == 220  # 440 Hz, in half a second
    assert 0.3 < np.abs(middle).max() < 0.6
    part, _ = audio.read(path, start=0.7, end=1.2)
    np.testing.assert_array_equal(part, y[round(0.7 * rate) : round(1.2 * rate)])


@pytest.mark.parametrize(
    ("suffix", "live"),
    [(suffix, live) for suffix in CODINGS for live in (False, True) if (suffix, live) != ("wma", True)],
)
def test_truncated_files_of_other_formats_are_rejected(tmp_path: Path, suffix: str, live: bool) -> None:
    rate = CODINGS[suffix][2]
    content = encode(suffix, np.random.default_rng(0).normal(scale=0.1, size=rate * 4), live)
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    whole, passed = len(audio.read(path)[0]), 0
    places = np.random.default_rng(1).integers(len(content) // 4, len(content) * 9 // 10, 30)
    for place in places.tolist():
        path.write_bytes(content[:place])
        try:
            assert len(audio.read(path)[0]) < whole
            passed += 1
        except InputError as error:
            assert str(error).startswith(str(path))
    assert passed <= (
        3 if suffix in ("aac", "amr") or live else 0
    )  # truncated between two packets, which cannot be detected


def test_channel_of_m4a_is_selected(tmp_path: Path) -> None:
    write(tmp_path / "x.m4a", np.stack([TONE, 0.1 * TONE]))
    loud, quiet = (np.abs(audio.read(tmp_path / "x.m4a", channel=channel)[0]).max() for channel in (0, 1))
    assert loud > 4 * quiet > 0


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])  # index at the end, at the start
def test_truncated_m4a_is_rejected(tmp_path: Path, options: dict[str, str]) -> None:
    path = tmp_path / "x.m4a"
    write(path, TONE[None], **options)
    content = path.read_bytes()
    for keep in (12, 40, len(content) // 2):
        path.write_bytes(content[:keep])
        with pytest.raises(InputError, match=r"x\.m4a: (cannot be decoded|truncated|an MP4 file without sound)"):
            audio.read(path)


def test_truncated_mp4_is_rejected_by_its_boxes(tmp_path: Path) -> None:
    path = tmp_path / "x.m4a"
    write(path, TONE[None], movflags="faststart")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"x\.m4a: truncated: \d+ of \d+ bytes"):
        audio.seconds(path)


def test_two_concatenated_mp4_files_are_rejected(tmp_path: Path) -> None:
    """FFmpeg would read only the first."""
    write(tmp_path / "x.m4a", TONE[None])
    for path, content in (
        (tmp_path / "x.m4a", (tmp_path / "x.m4a").read_bytes()),
        (tmp_path / "x.wma", encode("wma", TONE)),
    ):
        path.write_bytes(content * 2)
        with pytest.raises(InputError, match=r"contains another recording after the first|but .* follow"):
            audio.seconds(path)


def test_damaged_m4a_raises_only_input_errors(tmp_path: Path) -> None:
    path = tmp_path / "x.m4a"
    write(path, TONE[None, :16000], movflags="faststart")
    content, random = path.read_bytes(), np.random.default_rng(0)
    for number in range(100):
        damaged = bytearray(content)
        for place in random.integers(0, len(content) if number % 2 else 1200, size=random.integers(1, 8)):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert np.isfinite(audio.read(path, channel=0, max_seconds=10)[0]).all()
        except InputError as error:
            assert str(error).startswith(str(path))


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x1cftypM4A ", "MP4 or QuickTime"),
        (b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67\xff", "WebM or Matroska"),
        (b"\xff\xf1\x50\x80\x01\x1f\xfc", r"AAC \(ADTS\)"),
        (b"#!AMR\n", "AMR"),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), r"WMA \(ASF\)"),
    ],
)
def test_missing_extra_is_named_with_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes, name: str
) -> None:
    (tmp_path / "x").write_bytes(head.ljust(100, b"\xec\x81\0"[2:]))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=rf"x: {name}: this needs av: pip install 'spkver\[m4a\]'"):
        audio.read(tmp_path / "x")


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"RIFF\xff\0\0\0AVI LIST", "AVI"), (b"FLV\x01", "Flash video"), (b"wvpk", "WavPack"), (b"\x0b\x77", "AC-3")],
)
def test_unsupported_format_is_named(tmp_path: Path, head: bytes, name: str) -> None:
    (tmp_path / "x").write_bytes(head.ljust(100, b"\0"))
    with pytest.raises(InputError, match=rf"x: {name} is not supported; decode it first, e.g. ffmpeg -i "):
        audio.read(tmp_path / "x")
