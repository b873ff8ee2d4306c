"""Apple's CAF, whose size of -1 (to the end of the file) libsndfile does not know."""

from __future__ import annotations

from spkver.containers.source import Source, View, patched

MAGIC = b"caff"
_UNKNOWN = b"\xff" * 8
_CHUNKS = 10000  # more are damage


def views(source: Source) -> list[View]:
    """What to decode: the file, with the size of its samples in place of -1."""
    at = 8
    for _ in range(_CHUNKS):
        head = source.at(at, 12)
        if len(head) < 12:
            break
        if head[:4] == b"data":
            size = (source.size - at - 12).to_bytes(8, "big")
            return [patched(source, [(at + 4, size)]) if head[4:] == _UNKNOWN else View(source)]
        at += 12 + int.from_bytes(head[4:], "big")
    return [View(source)]
