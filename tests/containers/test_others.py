"""AIFF, AU, CAF, W64 and SPHERE: stated and actual sizes are compared by one rule."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spkver import audio
from spkver.containers.extent import is_placeholder
from spkver.errors import InputError

SAMPLES = np.random.default_rng(0).integers(-20000, 20000, 5000).astype(np.int16)
SIZE = 2 * len(SAMPLES)


def written(container: str) -> bytearray:
    stream = io.BytesIO()
    soundfile.write(stream, SAMPLES, 16000, format=container, subtype="PCM_16")
    return bytearray(stream.getvalue())


def place(container: str, content: bytes) -> tuple[int, str]:
    """Offset and struct format of the size of the samples."""
    if container == "AIFF":
        return content.index(b"SSND") + 4, ">I"
    if container == "CAF":
        return content.index(b"data") + 4, ">q"
    return 8, ">I"  # AU


@pytest.mark.parametrize(
    ("container", "size"),
    [
        *(("AIFF", size) for size in (0, 0x7F000008, 0x7FFFFFFF, 0xFFFFFFFF)),
        *(("AU", size) for size in (0, 0xFFFFFFFF)),
        ("CAF", -1),
    ],
)
def test_placeholder_size_is_read_to_the_end(tmp_path: Path, container: str, size: int) -> None:
    content = written(container)
    at, form = place(container, content)
    struct.pack_into(form, content, at, size)
    (tmp_path / "x").write_bytes(content)
    np.testing.assert_array_equal(audio.to_int16(audio.read(tmp_path / "x")[0]), SAMPLES)
    assert audio.seconds(tmp_path / "x") == 5000 / 16000


@pytest.mark.parametrize("container", ["AIFF", "AU", "CAF", "W64", "NIST", "RF64", "WAV"])
def test_truncated_or_extended_file_is_rejected(tmp_path: Path, container: str) -> None:
    content = bytes(written(container))
    (tmp_path / "x").write_bytes(content)
    np.testing.assert_array_equal(audio.to_int16(audio.read(tmp_path / "x")[0]), SAMPLES)
    for changed in (content[:-2000], content * 2):
        (tmp_path / "x").write_bytes(changed)
        for read in (audio.read, audio.seconds):
            with pytest.raises(
                InputError, match=r"x: (truncated|its header states|contains another|cannot be decoded)"
            ):
                read(tmp_path / "x")


def test_caf_with_chunks_after_the_samples_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(written("CAF") + b"info" + struct.pack(">q", 4000) + bytes(4000))
    assert len(audio.read(tmp_path / "x")[0]) == 5000


@pytest.mark.parametrize("size", [1, 32000, 2**31 - 100_000, 2_073_600_000, 3 * 10**9, 2**32 - 100_000, 10**9])
def test_ordinary_sizes_are_no_placeholders(size: int) -> None:
    assert not is_placeholder(size)
