"""FLAC that does not state its length."""

from __future__ import annotations

import numpy as np
import pytest

from spkver import audio
from spkver.errors import InputError


@pytest.fixture
def piped(tmp_path):
    """A recording of 40,000 samples, and the same with no length in its header."""
    waveform = (0.1 * np.random.default_rng(0).normal(size=40000)).astype(np.float32)
    audio.write(tmp_path / "stated.flac", waveform, 16000)
    content = bytearray((tmp_path / "stated.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "piped.flac").write_bytes(content)
    return tmp_path / "stated.flac", tmp_path / "piped.flac"


def test_all_samples_are_read_and_counted(piped):
    stated, path = piped
    np.testing.assert_array_equal(audio.read(path)[0], audio.read(stated)[0])
    assert audio.seconds(path) == 2.5
    np.testing.assert_array_equal(audio.read(path, start=1.0, end=1.5)[0], audio.read(stated, start=1.0, end=1.5)[0])


def test_counts_beyond_32_bits_are_kept(piped):
    """The field has 36 bits, of which 4 share a byte with the bits of a sample."""
    stated, _ = piped
    content = bytearray(stated.read_bytes())
    content[21] = content[21] & 0xF0 | 1
    content[22:26] = bytes(4)
    stated.write_bytes(content)
    with pytest.raises(InputError, match="too long"):
        audio.read(stated)


@pytest.mark.parametrize("change", ["cut", "twice"])
def test_what_is_not_one_whole_recording_is_refused(piped, change):
    _, path = piped
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if change == "cut" else content + content)
    with pytest.raises(InputError, match=r"piped\.flac: cannot be decoded"):
        audio.read(path)
