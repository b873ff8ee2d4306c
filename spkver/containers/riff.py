"""WAV of all sizes: RIFF, and RF64 and BW64 with sizes of 64 bits.

libsndfile reads most of them correctly. If it would lose samples (a size of 0, a size that wrapped at 4 GiB, a 64-bit
size that was never written, the name BW64), it gets a view with a corrected header.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from spkver.containers import mpeg
from spkver.containers.extent import JUNK, is_placeholder, refuse_cut, unexplained
from spkver.containers.source import Source, View
from spkver.errors import InputError

NAMES = (b"RIFF", b"RF64", b"BW64")
_WRAP = 1 << 32
_PADDING = 1 << 20  # bytes of zeros that are accepted after the samples
_CHUNKS = 10000  # a file with more is damaged
_MP3 = 0x55


class _Wave(NamedTuple):
    name: bytes
    kept: dict[bytes, bytes]  # chunks that a decoder needs: fmt, fact
    stated: int  # bytes of samples
    start: int  # offset of the samples

    @property
    def block(self) -> int:
        return max(1, int.from_bytes(self.kept[b"fmt "][12:14], "little"))


def views(source: Source) -> list[View]:
    """The views to decode. Raises InputError for a file with fewer or more samples than its header states."""
    wave = _parse(source)
    if wave is None:  # libsndfile reports the error
        return [View(source)]
    present = max(0, source.size - wave.start)
    count = _audio_bytes(source, wave, present)
    if int.from_bytes(wave.kept[b"fmt "][:2], "little") == _MP3:
        return mpeg.views(source.part(wave.start, wave.start + count))
    clipped = min(wave.stated, present) if wave.name == b"RIFF" else wave.stated
    if wave.name != b"BW64" and wave.stated and count == clipped:  # libsndfile reads the same number
        return [View(source)]
    samples = source.part(wave.start, wave.start + count)
    return [View(_header(wave, count), samples)]


def _parse(source: Source) -> _Wave | None:
    """The chunks up to the samples; None if they are not found."""
    head = source.at(0, 12)
    kept: dict[bytes, bytes] = {}
    at, long_size = 12, 0
    for _ in range(_CHUNKS if head[8:] == b"WAVE" else 0):
        name, size = _chunk(source, at)
        if name == b"data":
            if len(kept.get(b"fmt ", b"")) < 16:
                return None
            stated = long_size if head[:4] != b"RIFF" and size in (0, _WRAP - 1) else size
            return _Wave(head[:4], kept, stated, at + 8)
        if name in (b"fmt ", b"fact"):
            kept[name] = source.at(at + 8, min(size, 1024))
        elif name == b"ds64":
            long_size = int.from_bytes(source.at(at + 16, 8), "little")
        at += 8 + size + size % 2
        if at >= source.size:
            return None
    return None


def _chunk(source: Source, at: int) -> tuple[bytes, int]:
    head = source.at(at, 8)
    return head[:4], int.from_bytes(head[4:], "little")


def _audio_bytes(source: Source, wave: _Wave, present: int) -> int:
    """The number of bytes of samples. Raises InputError if the header states another number."""
    refuse_cut(source.name, wave.stated, present, wave.block)
    if wave.stated >= present:
        return present
    wrapped = (present - wave.stated) // _WRAP * _WRAP
    for count in (wave.stated + wrapped, wave.stated):
        if _ends(source, wave.start + count):
            return count
    if is_placeholder(wave.stated, wave.block):
        return present
    raise unexplained(source.name, wave.stated, present)


def _ends(source: Source, at: int) -> bool:
    """Whether only complete chunks, zeros or little junk follow. Raises InputError for another recording."""
    at += at % 2
    while source.size - at > JUNK:
        name, size = _chunk(source, at)
        if name in (*NAMES, b"data"):
            raise InputError(f"{source.name}: contains another recording after the first (at byte {at}); split it")
        if not all(0x20 <= byte < 0x7F for byte in name) or at + 8 + size > source.size:
            return source.size - at <= _PADDING and not source.at(at, _PADDING).strip(b"\0")
        at += 8 + size + size % 2
    return True


def _header(wave: _Wave, count: int) -> bytes:
    """The header of a WAV file with `count` bytes of samples: RIFF, or RF64 if the size needs 64 bits."""
    chunks = b"".join(
        struct.pack("<4sI", name, len(body)) + body + bytes(len(body) % 2) for name, body in wave.kept.items()
    )
    riff = 4 + len(chunks) + 8 + count + count % 2
    if riff < _WRAP - 1:
        return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + chunks + struct.pack("<4sI", b"data", count)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, riff + 36, count, count // wave.block, 0)
    return struct.pack("<4sI4s", b"RF64", _WRAP - 1, b"WAVE") + sizes + chunks + struct.pack("<4sI", b"data", _WRAP - 1)
