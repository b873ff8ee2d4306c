"""AAC in MP4, by the extra `m4a`: what comes back is what went in; damage and the missing extra are named."""

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


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "x.m4a"
    write(path, TONE[None])
    y, rate = audio.read(path)
    assert rate == RATE and len(y) == len(TONE) and audio.seconds(path) == 2.5
    assert np.corrcoef(y, TONE)[0, 1] > 0.99  # and so not shifted by the encoder's delay
    part, _ = audio.read(path, start=1.0, end=1.5)
    np.testing.assert_array_equal(part, y[16000:24000])
    assert len(audio.read(path, 8000)[0]) == 20000
    with pytest.raises(InputError, match="too long"):
        audio.read(path, max_seconds=1)


def test_channels(tmp_path: Path) -> None:
    write(tmp_path / "x.m4a", np.stack([TONE, 0.1 * TONE]))
    loud, quiet = (np.abs(audio.read(tmp_path / "x.m4a", channel=channel)[0]).max() for channel in (0, 1))
    assert loud > 4 * quiet > 0


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])  # where the index is: behind, before
def test_truncated(tmp_path: Path, options: dict[str, str]) -> None:
    path = tmp_path / "x.m4a"
    write(path, TONE[None], **options)
    content = path.read_bytes()
    for keep in (12, 40, len(content) // 2):
        path.write_bytes(content[:keep])
        with pytest.raises(InputError, match=r"x\.m4a: (cannot be decoded|truncated|an MP4 file without sound)"):
            audio.read(path)


def test_damaged_bytes_are_read_or_refused(tmp_path: Path) -> None:
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


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.m4a").write_bytes(b"\0\0\0\x1cftypM4A " + bytes(100))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"this needs av: pip install 'spkver\[m4a\]'"):
        audio.read(tmp_path / "x.m4a")
