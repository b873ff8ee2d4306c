"""FLAC files without a length in the header."""

from __future__ import annotations

import numpy as np
import pytest

from spkver import audio
from spkver.errors import InputError


@pytest.fixture
def piped(tmp_path):
    """A recording of 40,000 samples, and the same file without a length in its header."""
    waveform = (0.1 * np.random.default_rng(0).normal(size=40000)).astype(np.float32)
    audio.write(tmp_path / "stated.flac", waveform, 16000)
    content = bytearray((tmp_path / "stated.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "piped.flac").write_bytes(content)
    return tmp_path / "stated.flac", tmp_path / "piped.flac"


def test_flac_without_length_is_read_completely(piped):
    stated, path = piped
    np.testing.assert_array_equal(audio.read(path)[0], audio.read(stated)[0])
    assert audio.seconds(path) == 2.5
    np.testing.assert_array_equal(audio.read(path, start=1.0, end=1.5)[0], audio.read(stated, start=1.0, end=1.5)[0])


def test_flac_length_uses_all_36_bits(piped):
    """Four of the 36 bits share a byte with the number of bits per sample."""
    stated, _ = piped
    content = bytearray(stated.read_bytes())
    content[21] = content[21] & 0xF0 | 1
    content[22:26] = bytes(4)
    stated.write_bytes(content)
    with pytest.raises(InputError, match="too long"):
        audio.read(stated)


@pytest.mark.parametrize("change", ["cut", "twice"])
def test_flac_that_is_not_one_complete_recording_is_rejected(piped, change):
    _, path = piped
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if change == "cut" else content + content)
    with pytest.raises(InputError, match=r"piped\.flac: cannot be decoded"):
        audio.read(path)
