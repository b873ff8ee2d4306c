"""MP3: lengths come from counted frames, with or without an info frame."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spkver import audio
from spkver.containers import mpeg
from spkver.containers.source import Source
from spkver.errors import InputError


def encode(path: Path, x: np.ndarray, rate: int = 16000, mode: str = "VARIABLE") -> bytes:
    soundfile.write(path, x, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.5)
    return path.read_bytes()


def frames(content: bytes) -> list[bytes]:
    """The frames of a file that contains only frames; the first is the info frame."""
    found, at = [], 0
    while at < len(content):
        kind = mpeg._kind(content[at:])
        assert kind is not None
        found.append(content[at : at + kind.length])
        at += kind.length
    return found


def uneven(loud_first: bool) -> np.ndarray:
    """1 s of noise and 2 s of a soft tone, in either order, so the first frame is not typical of the others."""
    noise = np.random.default_rng(0).normal(scale=0.3, size=16000)
    tone = 0.003 * np.sin(np.arange(32000) * 0.05)
    return np.concatenate([noise, tone] if loud_first else [tone, noise])


@pytest.mark.parametrize("mode", ["VARIABLE", "AVERAGE", "CONSTANT"])
@pytest.mark.parametrize("loud_first", [True, False])
def test_mp3_without_info_frame_is_read_completely(tmp_path: Path, loud_first: bool, mode: str) -> None:
    path = tmp_path / "x.mp3"
    content = encode(path, uneven(loud_first), mode=mode)
    whole, _ = audio.read(path)
    assert len(whole) == 48000
    sound = frames(content)[1:]
    for before in (b"", b"ID3\x04\0\0\0\0\x01\0" + bytes(128)):
        path.write_bytes(before + b"".join(sound))
        y, rate = audio.read(path)
        assert rate == 16000 and audio.seconds(path) == len(y) / 16000
        assert len(y) == len(sound) * 576 - 529  # minus the delay of the decoder
        delay = len(y) - np.argmax(np.correlate(np.abs(y), np.abs(whole), "valid")) if len(y) < len(whole) else 576
        np.testing.assert_allclose(y[delay : delay + len(whole)], whole[: len(y) - delay], atol=1e-4)
        part, _ = audio.read(path, start=1.0, end=2.5)
        np.testing.assert_allclose(part, y[16000:40000], atol=1e-6)


@pytest.mark.parametrize("stating", [True, False])
def test_truncated_mp3_is_rejected(tmp_path: Path, stating: bool) -> None:
    """At any byte if the length is stated; otherwise at any byte except between two frames."""
    path = tmp_path / "x.mp3"
    every = frames(encode(path, uneven(True)))[0 if stating else 1 :]
    content = b"".join(every)
    edges = {sum(map(len, every[:count])) for count in range(len(every))}
    for place in np.random.default_rng(1).integers(1000, len(content), 60).tolist():
        if place in edges and not stating:
            continue
        path.write_bytes(content[:place])
        for read in (audio.seconds, audio.read):
            with pytest.raises(InputError, match=r"x\.mp3: truncated: .*MPEG frame"):
                read(path)


def test_concatenated_mp3_files_are_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    first, second = (encode(path, x) for x in (uneven(True), uneven(False)[:40000]))
    path.write_bytes(first)
    expected = [audio.read(path)[0]]
    path.write_bytes(second)
    expected.append(audio.read(path)[0])
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 96, 1, 0xA0000000) + bytes(8) + b"x" * 96
    for between in (b"", b"TAG" + bytes(125), ape, b"ID3\x04\0\0\0\0\0\x10" + bytes(16)):
        path.write_bytes(first + between + second)
        whole, _ = audio.read(path)
        np.testing.assert_array_equal(whole, np.concatenate(expected))
        assert audio.seconds(path) == 88000 / 16000
        np.testing.assert_allclose(audio.read(path, start=2.9, end=3.2)[0], whole[46400:51200], atol=1e-6)
    sound = b"".join(frames(second)[1:])
    path.write_bytes(first + sound)  # the second does not state its length
    assert len(audio.read(path)[0]) == (len(frames(first)) - 1 + len(frames(second)) - 1) * 576 - 529
    path.write_bytes(first + b"no sound" * 50 + second)
    with pytest.raises(InputError, match=r"x\.mp3: damaged: no MPEG frame at byte"):
        audio.seconds(path)
    other = encode(path, np.zeros(44100), 44100)
    path.write_bytes(first + other)
    with pytest.raises(InputError, match=r"contains recordings of different formats.*16000 Hz.*44100 Hz"):
        audio.seconds(path)


def test_mp3_info_frame_without_length_is_ignored(tmp_path: Path) -> None:
    """As written by a stopped encoder, also in Fraunhofer's format (VBRI). It is not decoded as audio."""
    path = tmp_path / "x.mp3"
    every = frames(encode(path, uneven(True)))
    path.write_bytes(b"".join(every[1:]))
    expected, _ = audio.read(path)
    kind = mpeg._kind(every[0])
    assert kind is not None
    vbri = every[0][:4].ljust(36, b"\0") + b"VBRI" + bytes(6) + struct.pack(">II", 0, 0)
    for first in (every[0][: kind.statement] + b"Info\0\0\0\0", vbri):
        path.write_bytes(first.ljust(len(every[0]), b"\0") + b"".join(every[1:]))
        np.testing.assert_array_equal(audio.read(path)[0], expected)


def test_tags_after_mp3_frames_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    content = encode(path, uneven(True))
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 32 + 64, 1, 0xA0000000) + bytes(8)
    for behind in (b"TAG" + bytes(125), ape + b"x" * 64 + ape, bytes(3000)):
        for start in (content, b"".join(frames(content)[1:])):
            path.write_bytes(start)
            count = len(audio.read(path)[0])
            path.write_bytes(start + behind)
            assert len(audio.read(path)[0]) == count
            assert audio.seconds(path) == count / 16000


def test_mp3_frames_are_not_counted_when_the_info_frame_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting would fail, because `_walk` is None."""
    content = encode(tmp_path / "x.mp3", uneven(True))
    monkeypatch.setattr(mpeg, "_walk", None)
    assert audio.seconds(tmp_path / "x.mp3") == 3
    (tmp_path / "x.mp3").write_bytes(content + b"TAG" + bytes(125))
    assert audio.seconds(tmp_path / "x.mp3") == 3


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_of_every_sample_rate_is_read(tmp_path: Path, rate: int, channels: int) -> None:
    path = tmp_path / "x.mp3"
    sound = frames(encode(path, np.random.default_rng(0).normal(scale=0.1, size=(rate, channels)), rate))[1:]
    path.write_bytes(b"".join(sound))
    y, found = audio.read(path, channel=channels - 1)
    assert found == rate and len(y) == len(sound) * (576 if rate < 32000 else 1152) - 529


def test_reading_part_of_an_mp3_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The first frames of a part depend on earlier ones, and libmpg123 would complain."""
    path = tmp_path / "x.mp3"
    x = uneven(False)
    encode(path, np.concatenate([x, x]), mode="CONSTANT")
    for start in np.arange(0, 5.5, 0.1):
        audio.read(path, start=start, end=start + 0.3)
    assert capfd.readouterr().err == ""


def test_mp3_in_wav_is_read_completely(tmp_path: Path) -> None:
    sound = b"".join(frames(encode(tmp_path / "x.mp3", uneven(True)))[1:])
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 16000, 4000, 1, 0, 12, 1, 2, 576, 1, 0)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(sound)) + sound
    (tmp_path / "x.wav").write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    (tmp_path / "x.mp3").write_bytes(sound)
    np.testing.assert_array_equal(audio.read(tmp_path / "x.wav")[0], audio.read(tmp_path / "x.mp3")[0])


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ("fffb9064", 417),  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz
        ("fffb9264", 418),  # with padding
        ("fff348c4", 144),  # MPEG-2 layer III, 32 kbit/s, 16 kHz
        ("ffe318c4", 72),  # MPEG-2.5 layer III, 8 kbit/s, 8 kHz
        ("fffd84c4", 384),  # MPEG-1 layer II, 128 kbit/s, 48 kHz
        ("ffffffff", None),
        ("fff15080", None),  # AAC
        ("fffb0064", None),  # free format
        ("00000000", None),
    ],
)
def test_frame_length_follows_from_the_header(header: str, length: int | None) -> None:
    kind = mpeg._kind(bytes.fromhex(header))
    assert (kind and kind.length) == length


def test_added_info_frame_has_the_kind_of_the_stream() -> None:
    for header in ("fffb9064", "fff348c4", "ffe318c4", "fffa90c4"):
        frame = mpeg._counting(bytes.fromhex(header), 1234)
        kind = mpeg._kind(frame)
        assert kind is not None and len(frame) == kind.length
        assert mpeg._statement(frame, kind.statement) == (1234, 0)
        assert mpeg._search(Source.of("x", frame), 0, 1) == 0
