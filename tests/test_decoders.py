"""Decoders, and the views of files that they read."""

import os

import pytest

from spkver import decoders
from spkver.containers import mp4
from spkver.containers.source import Source, View
from spkver.errors import InputError


def test_only_messages_of_mpg123_are_suppressed(capfd: pytest.CaptureFixture[str]) -> None:
    with decoders._without_mpg123():
        os.write(2, b"[src/libmpg123/layer3.c] error: part2_3_length\nsomebody else's warning\n")
    assert capfd.readouterr().err == "somebody else's warning\n"


def test_view_reads_concatenated_pieces() -> None:
    source = Source.of("x", b"abcdefgh")
    view = View(b"12", source.part(2, 5), b"3")
    assert (view.read(), view.size) == (b"12cde3", 6)
    view.seek(1)
    assert (view.read(3), view.tell()) == (b"2cd", 4)
    assert source.at(6, 9) == b"gh" and source.at(1 << 70, 4) == b""


def test_mp4_box_with_64_bit_size_is_followed() -> None:
    box = b"\0\0\0\1mdat" + (20).to_bytes(8, "big") + bytes(4)
    index = b"\0\0\0\x08moov"
    mp4.views(Source.of("x", box + index))
    with pytest.raises(InputError, match="contains another recording"):
        mp4.views(Source.of("x", box + index * 2))
    with pytest.raises(InputError, match="x: truncated: 18 of 20 bytes"):
        mp4.views(Source.of("x", box[:-2]))
