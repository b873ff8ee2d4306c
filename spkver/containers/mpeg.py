"""MP3 (and MPEG audio layers I and II): count the frames.

libsndfile takes the length from an info frame at the start (Xing, Info, VBRI), or else estimates it from the bit rate
of the first frame, and stops there. So a stream without info frame gets one in its view, and each of several streams
in a file gets its own view. A file whose info frame accounts for every byte is not scanned.
Not detected: a stream without info frame truncated exactly between two frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from spkver.containers.source import Source, View, after_id3
from spkver.errors import InputError

_HERTZ = (44100, 48000, 32000)
_KBITS = {  # by version 1 or 2, and layer; index 0 is "free format", whose frames do not state their length
    (1, 1): range(0, 449, 32),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KIND = 0xFFFE0C00  # the bits of a header that all frames of a stream share: sync, version, layer, rate
_NOT_PROTECTED = 1 << 16  # no checksum
_BITRATE = 0xF000
_PADDED = 1 << 9
_BLOCK = 1 << 20  # bytes read at once
_SEARCHED = 1 << 16  # bytes that are searched for the first frame
_STATEMENT = 192  # bytes that contain any info frame's fields


class _Kind(NamedTuple):
    """Properties of a frame, from its header."""

    length: int  # bytes, with the header
    layer: int
    statement: int  # offset of an info field (Xing, Info) in the frame


class _Statement(NamedTuple):
    frames: int  # audio frames; 0 if not stated
    size: int  # bytes, including the info frame; 0 if not stated


@dataclass(frozen=True)
class _Stream:
    start: int
    end: int
    frames: int  # audio frames
    cut: bool  # the last frame is incomplete
    statement: _Statement | None


def is_mpeg(head: bytes) -> bool:
    """Whether these bytes are a frame header."""
    return _kind(head) is not None


def views(source: Source) -> list[View]:
    """One view per stream of the file. Raises InputError if a stream is truncated or damaged."""
    start = _search(source, after_id3(source), _SEARCHED)
    if start is None or _states_all(source, start):  # libsndfile reports the error, or reads the file correctly
        return [View(source)]
    return [_view(source, stream) for stream in _streams(source, start)]


def _kind(head: bytes) -> _Kind | None:
    """Parse a frame header; None if it is not one, or does not state its length."""
    header = int.from_bytes(head[:4], "big") if len(head) >= 4 else 0
    number, layer, index, rate = header >> 19 & 3, 4 - (header >> 17 & 3), header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or number == 1 or layer == 4 or index in (0, 15) or rate == 3:
        return None
    version = 1 if number == 3 else 2
    hertz = _HERTZ[rate] >> {3: 0, 2: 1, 0: 2}[number]
    bits = 1000 * _KBITS[version, layer][index]
    padding = header >> 9 & 1
    mono = header >> 6 & 3 == 3
    if layer == 1:
        return _Kind((12 * bits // hertz + padding) * 4, layer, 0)
    length = (72 if (version, layer) == (2, 3) else 144) * bits // hertz + padding
    side = (17 if mono else 32) if version == 1 else (9 if mono else 17)
    return _Kind(length, layer, 4 + side)


def _same(one: bytes, other: bytes) -> bool:
    return (int.from_bytes(one[:4], "big") ^ int.from_bytes(other[:4], "big")) & _KIND == 0


def _search(source: Source, start: int, most: int) -> int | None:
    """The offset of the first frame that is followed by another of its kind or by the end of the file."""
    for at in range(start, min(start + most, source.size), _BLOCK):
        block = source.at(at, _BLOCK + 3)
        found = block.find(b"\xff")
        while found >= 0 and at + found < start + most:
            if _is_followed(source, at + found, block[found : found + 4]):
                return at + found
            found = block.find(b"\xff", found + 1)
    return None


def _is_followed(source: Source, at: int, head: bytes) -> bool:
    kind = _kind(head)
    if kind is None:
        return False
    end = at + kind.length
    after = source.at(end, 4)
    return end == source.size or (_kind(after) is not None and _same(head, after))


def _statement(frame: bytes, at: int) -> _Statement | None:
    """The content of an info frame, whose field is at `at` (or VBRI); None for an audio frame."""
    if frame[at : at + 4] in (b"Xing", b"Info"):
        flags, *values = struct.unpack_from(">III", frame[at + 4 :].ljust(12, b"\0"))
        frames = values.pop(0) if flags & 1 else 0
        return _Statement(frames, values[0] if flags & 2 else 0)
    if frame[36:40] == b"VBRI":
        size, frames = struct.unpack_from(">II", frame.ljust(54, b"\0"), 46)
        return _Statement(frames, size)
    return None


def _states_all(source: Source, start: int) -> bool:
    """Whether the info frame accounts for every byte up to the end of the file, or to an ID3v1 tag there."""
    frame = source.at(start, _STATEMENT)
    kind = _kind(frame)
    statement = _statement(frame, kind.statement) if kind else None
    if statement is None or not statement.frames:
        return False
    rest = source.size - start - statement.size
    return rest == 0 or (rest == 128 and source.at(source.size - rest, 3) == b"TAG")


def _streams(source: Source, start: int) -> Iterator[_Stream]:
    """The consecutive streams of a file. Raises InputError if frames are missing between two."""
    following: int | None = start
    while following is not None:
        stream = _walk(source, following)
        yield stream
        following = None if stream.cut else _next(source, stream.end)


def _walk(source: Source, start: int) -> _Stream:
    """Consecutive frames of one kind, up to the next info frame."""
    first = source.at(start, _STATEMENT)
    kinds: dict[bytes, _Kind | None] = {}
    statement, frames, at = None, 0, start
    base, block = start, source.at(start, _BLOCK)
    while True:
        if at + _STATEMENT > base + len(block):
            base, block = at, source.at(at, _BLOCK)
        offset = at - base
        head = block[offset : offset + 4]
        if head not in kinds:
            kinds[head] = _kind(head) if _same(head, first) else None
        kind = kinds[head]
        if kind is None or at + kind.length > source.size:
            cut = kind is not None or (0 < len(head) < 4 and head[0] == 0xFF)
            return _Stream(start, at, frames, cut, statement)
        if found := _statement(block[offset : offset + _STATEMENT], kind.statement):
            if at > start:
                return _Stream(start, at, frames, False, statement)
            statement = found
        else:
            frames += 1
        at += kind.length


def _next(source: Source, at: int) -> int | None:
    """Start of the next stream after this offset and any tags; None at the end, and before other content."""
    at = _after_tags(source, at)
    if _is_followed(source, at, source.at(at, 4)):
        return at
    if _search(source, at, source.size) is None:
        return None
    raise InputError(f"{source.name}: damaged: no MPEG frame at byte {at}, but more after it; copy the file again")


def _after_tags(source: Source, at: int) -> int:
    before = -1
    while at != before:
        before, at = at, after_id3(source, at)
        head = source.at(at, 32)
        if head.startswith(b"TAG"):
            at += 128
        elif head.startswith(b"APETAGEX"):
            at += 32 + int.from_bytes(head[12:16], "little")
    return at


def _view(source: Source, stream: _Stream) -> View:
    """A stream preceded by an info frame with the number of frames. Raises InputError if it states more frames."""
    stated = stream.statement.frames if stream.statement else 0
    if stream.frames < stated or (stream.cut and stream.frames != stated):
        found = f"{stream.frames} of {stated} MPEG frames" if stated else "its last MPEG frame is incomplete"
        raise InputError(f"{source.name}: truncated: {found}; copy the file again")
    head = source.at(stream.start, 4)
    kind = _kind(head)
    if kind is None or kind.layer != 3 or stated == stream.frames:
        return View(source.part(stream.start, stream.end))
    sound = stream.start + (kind.length if stream.statement else 0)
    return View(_counting(head, stream.frames), source.part(sound, stream.end))


def _counting(head: bytes, frames: int) -> bytes:
    """An info frame of the kind of `head` that states the number of frames."""
    plain = int.from_bytes(head, "big") & ~(_BITRATE | _PADDED) | _NOT_PROTECTED
    for index in range(1, 15):
        header = (plain | index << 12).to_bytes(4, "big")
        kind = _kind(header)
        if kind and kind.length >= _STATEMENT:
            return (header.ljust(kind.statement, b"\0") + struct.pack(">4sII", b"Info", 1, frames)).ljust(
                kind.length, b"\0"
            )
    raise AssertionError("no bit rate has frames large enough")
