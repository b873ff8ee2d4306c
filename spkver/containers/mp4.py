"""MP4 and QuickTime: boxes that state their sizes; a file has one `moov` box."""

from __future__ import annotations

from spkver.containers.source import Source, View
from spkver.errors import InputError

_FIRST = (b"ftyp", b"moov", b"mdat", b"wide")


def is_mp4(head: bytes) -> bool:
    """Whether a file of the family begins here."""
    return head[4:8] in _FIRST


def views(source: Source) -> list[View]:
    """The file. Raises InputError if it is truncated or contains several recordings (FFmpeg reads the first)."""
    at, indices = 0, 0
    while source.size - at >= 8:
        head = source.at(at, 16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        if size == 0:  # to the end
            break
        if size < 8 or not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in kind):
            break  # not a box: left to FFmpeg
        indices += kind == b"moov"
        if indices > 1:
            raise InputError(f"{source.name}: contains another recording after the first (at byte {at}); split it")
        if at + size > source.size:
            raise InputError(f"{source.name}: truncated: {source.size} of {at + size} bytes; copy the file again")
        at += size
    return [View(source)]
