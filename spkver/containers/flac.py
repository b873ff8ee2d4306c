"""FLAC: files written to a pipe do not state their length."""

from __future__ import annotations

from spkver.containers.source import Sequential, Source, View, patched

MAGIC = b"fLaC"
_COUNT = 21  # offset of the number of samples: the low 4 bits of a byte, and 4 bytes
_BLOCK = 1 << 16  # samples at a time


def views(source: Source) -> list[View]:
    """The file. If the header does not state the number of samples, they are counted by decoding once."""
    field = source.at(_COUNT, 5)
    if len(field) < 5 or field[0] & 0x0F or any(field[1:]):
        return [View(source)]
    count = _samples(source)
    stated = bytes([field[0] | count >> 32]) + (count & 0xFFFFFFFF).to_bytes(4, "big")
    return [patched(source, [(_COUNT, stated)])]


def _samples(source: Source) -> int:
    with Sequential(View(source)) as file:
        return sum(iter(lambda: len(file.read(_BLOCK, dtype="int16", always_2d=True)), 0))
