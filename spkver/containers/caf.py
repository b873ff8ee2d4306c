"""Apple's CAF: libsndfile does not support a size of -1 (up to the end of the file)."""

from __future__ import annotations

from spkver.containers.extent import JUNK, refuse_cut, unexplained
from spkver.containers.source import Source, View, patched

MAGIC = b"caff"
_UNKNOWN = (1 << 64) - 1
_HEAD = 12  # bytes of a chunk's name and size
_CHUNKS = 10000  # a file with more is damaged


def views(source: Source) -> list[View]:
    """The file, with the actual size of its samples in place of -1. Raises InputError for a wrong size."""
    at, data = 8, (0, 0)
    for _ in range(_CHUNKS):
        head = source.at(at, _HEAD)
        size, present = int.from_bytes(head[4:], "big"), source.size - at - _HEAD
        if present < 0 or (data[0] and size > present):  # no chunk after the samples
            break
        if head.startswith(b"data"):
            if size == _UNKNOWN:
                return [patched(source, [(at + 4, present.to_bytes(8, "big"))])]
            refuse_cut(source.name, size, present)
            data = size, present
        at += _HEAD + size
    if data[0] and source.size - at > JUNK:
        raise unexplained(source.name, *data)
    return [View(source)]
