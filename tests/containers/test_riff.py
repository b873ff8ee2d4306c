"""WAV: stated and actual sizes are compared in both directions."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spkver import audio
from spkver.errors import InputError

SAMPLES = np.random.default_rng(0).integers(-20000, 20000, 4001).astype("<i2")
DATA = SAMPLES.tobytes()
UNKNOWN = 0xFFFFFFFF


def wav(data: bytes, size: int, name: bytes = b"RIFF", sizes: bytes = b"", behind: bytes = b"") -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    start = name + struct.pack("<I", min(size + 36, UNKNOWN)) + b"WAVE" + sizes
    return start + b"fmt \x10\0\0\0" + form + b"data" + struct.pack("<I", size) + data + behind


def ds64(size: int, count: int) -> bytes:
    return b"ds64" + struct.pack("<IQQQI", 28, size + 72, size, count, 0)


def check(path: Path, content: bytes, samples: np.ndarray = SAMPLES) -> None:
    """Check that all samples are read, also in part, and that the stated duration is right."""
    path.write_bytes(content)
    np.testing.assert_array_equal(audio.to_int16(audio.read(path)[0]), samples)
    assert audio.seconds(path) == len(samples) / 16000
    part = audio.read(path, start=0.05, end=0.15)[0]
    np.testing.assert_array_equal(audio.to_int16(part), samples[800:2400])


@pytest.mark.parametrize(
    "size",
    [0, 0x7F000000, 0x7FFF0000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, UNKNOWN - 100, UNKNOWN - 1, UNKNOWN, 2 * 10**9],
)
def test_wav_with_placeholder_size_is_read_to_the_end(tmp_path: Path, size: int) -> None:
    check(tmp_path / "x.wav", wav(DATA, size))


@pytest.mark.parametrize("size", [len(DATA) + 2, 10**6, 2_073_600_000, 3 * 10**9, 0xB0000000])
def test_wav_with_fewer_samples_than_stated_is_rejected(tmp_path: Path, size: int) -> None:
    (tmp_path / "x.wav").write_bytes(wav(DATA, size))
    for read in (audio.read, audio.seconds):
        with pytest.raises(InputError, match=rf"x\.wav: truncated: {len(DATA)} of {size} bytes of audio"):
            read(tmp_path / "x.wav")


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
@pytest.mark.parametrize(
    ("stated", "count"), [(len(DATA), 4001), (len(DATA), 0), (0, 0), (2**64 - 1, 2**64 - 1), (2**63 - 1, 0)]
)
def test_rf64_and_bw64_are_read_completely(tmp_path: Path, name: bytes, stated: int, count: int) -> None:
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 0, stated, count, 0)
    check(tmp_path / "x.wav", wav(DATA, UNKNOWN, name, sizes))


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
def test_rf64_and_bw64_with_fewer_samples_than_stated_are_rejected(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(wav(DATA[:4000], UNKNOWN, name, ds64(len(DATA), 4001)))
    with pytest.raises(InputError, match=r"truncated: 4000 of 8002 bytes"):
        audio.seconds(tmp_path / "x.wav")


def test_wav_size_that_wrapped_at_4_gib_is_corrected(tmp_path: Path) -> None:
    """The header has the size modulo 4 GiB; the file is sparse. A chunk may follow the samples."""
    path, total = tmp_path / "x.wav", (1 << 32) + 32000
    for behind in (b"", b"LIST\x04\0\0\0INFO"):
        with path.open("wb") as stream:
            stream.write(wav(b"", total & UNKNOWN))
            stream.seek(total - len(DATA), io.SEEK_CUR)
            stream.write(DATA + behind)
        assert audio.seconds(path) == total / 32000
        end = audio.read(path, start=(total - len(DATA)) / 32000)[0]
        np.testing.assert_array_equal(audio.to_int16(end), SAMPLES)


def test_wav_with_more_samples_than_stated_is_rejected(tmp_path: Path) -> None:
    """As written by a stopped recorder. Samples outside of any chunk are not silently ignored."""
    (tmp_path / "x.wav").write_bytes(wav(DATA, 4000))
    with pytest.raises(InputError, match=r"x\.wav: its header states 4000 bytes of audio, but 8002 follow"):
        audio.seconds(tmp_path / "x.wav")


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST" + struct.pack("<I", 3000) + b"INFO" + bytes(2996),
        b"id3 \x05\0\0\0abcde\0LIST\x04\0\0\0INFO",
        b"TAG" + b"x" * 125,  # ID3v1
        b"id3 " + struct.pack("<I", 2999) + bytes(3000) + b"LIST" + struct.pack("<I", 2000) + b"INFO" + bytes(1996),
        bytes(100_000),
    ],
)
def test_chunks_tags_and_zeros_after_wav_samples_are_ignored(tmp_path: Path, behind: bytes) -> None:
    check(tmp_path / "x.wav", wav(DATA, len(DATA), behind=behind))


@pytest.mark.parametrize("second", [wav(DATA, len(DATA)), b"data" + struct.pack("<I", len(DATA)) + DATA])
def test_second_recording_in_a_wav_is_rejected(tmp_path: Path, second: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(wav(DATA, len(DATA)) + second)
    with pytest.raises(InputError, match=r"x\.wav: contains another recording after the first \(at byte 8046\)"):
        audio.seconds(tmp_path / "x.wav")


def test_wav_with_odd_number_of_bytes_is_read(tmp_path: Path) -> None:
    """A padding byte and other chunks follow the samples."""
    soundfile.write(tmp_path / "x.wav", SAMPLES, 16000, subtype="PCM_U8")
    content = bytearray((tmp_path / "x.wav").read_bytes())
    content += b"LIST" + struct.pack("<I", 3000) + b"INFO" + bytes(2996)
    (tmp_path / "x.wav").write_bytes(content)
    assert audio.seconds(tmp_path / "x.wav") == 4001 / 16000


@pytest.mark.parametrize("keep", [40, 43, 44])
def test_wav_truncated_in_its_header_is_rejected(tmp_path: Path, keep: int) -> None:
    (tmp_path / "x.wav").write_bytes(wav(DATA, len(DATA))[:keep])
    with pytest.raises(InputError, match=r"x\.wav: (truncated|cannot be decoded|empty)"):
        audio.read(tmp_path / "x.wav")


def test_wav_without_samples_is_reported_as_empty(tmp_path: Path) -> None:
    for behind in (b"", b"LIST" + struct.pack("<I", 3000) + bytes(3000)):
        (tmp_path / "x.wav").write_bytes(wav(b"", 0, behind=behind))
        with pytest.raises(InputError, match=r"x\.wav: empty \(no samples\)"):
            audio.read(tmp_path / "x.wav")


@pytest.mark.parametrize("coding", ["ULAW", "MS_ADPCM", "IMA_ADPCM", "GSM610", "PCM_24", "FLOAT"])
def test_wav_codings_with_placeholder_size_are_read(tmp_path: Path, coding: str) -> None:
    tone = 0.5 * np.sin(np.arange(8000) * 0.2)
    soundfile.write(tmp_path / "x.wav", tone, 8000, subtype=coding)
    content = bytearray((tmp_path / "x.wav").read_bytes())
    at = content.index(b"data") + 4
    whole = audio.read(tmp_path / "x.wav")[0]
    assert np.corrcoef(whole[:8000], tone)[0, 1] > 0.98
    np.testing.assert_array_equal(audio.read(tmp_path / "x.wav", start=0.5)[0], whole[4000:])
    for size in (0, UNKNOWN):
        content[at : at + 4] = size.to_bytes(4, "little")
        (tmp_path / "x.wav").write_bytes(content)
        np.testing.assert_array_equal(audio.read(tmp_path / "x.wav")[0], whole)
        assert audio.seconds(tmp_path / "x.wav") == len(whole) / 8000
