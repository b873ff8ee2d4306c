"""The bytes of a recording, and views of them with a header corrected for the decoder."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import soundfile

from spkver.files import StrPath

ID3_HEADER = 10  # bytes


@dataclass(frozen=True)
class Source:
    """A file, the output of a command, or a part of either."""

    name: StrPath  # for messages
    file: int | bytes  # file descriptor, or content
    start: int
    size: int

    @classmethod
    def of(cls, name: StrPath, file: int | bytes) -> Source:
        """A complete open file, or complete content in memory."""
        return cls(name, file, 0, os.fstat(file).st_size if isinstance(file, int) else len(file))

    def at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer at the end of the source."""
        length, offset = min(length, self.size - offset), self.start + offset
        if length <= 0:
            return b""
        return (
            os.pread(self.file, length, offset) if isinstance(self.file, int) else self.file[offset : offset + length]
        )

    def part(self, start: int, end: int) -> Source:
        """The bytes from `start` to `end` as a source."""
        return Source(self.name, self.file, self.start + start, end - start)


class View(io.RawIOBase):
    """A readable, seekable file of concatenated pieces: parts of a source, and other bytes."""

    def __init__(self, *pieces: Source | bytes) -> None:
        sources = [Source.of("", piece) if isinstance(piece, bytes) else piece for piece in pieces]
        self._pieces = [piece for piece in sources if piece.size]
        self._at = 0
        self.size = sum(piece.size for piece in self._pieces)

    def is_all_of(self, source: Source) -> bool:
        """Whether the view is exactly this source."""
        return self._pieces == [source]

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the offset of the next byte, and return it."""
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, at most to the end of the last piece; a read error acts as the end of the file."""
        done, start = 0, 0
        for piece in self._pieces:
            if start <= self._at < start + piece.size and done < len(buffer):
                try:
                    found = piece.at(self._at - start, len(buffer) - done)
                except OSError:  # an exception cannot pass through libsndfile
                    break
                buffer[done : done + len(found)] = found
                done += len(found)
                self._at += len(found)
            start += piece.size
        return done


class Sequential(soundfile.SoundFile):
    """A file that libsndfile decodes sequentially."""

    def seekable(self) -> bool:
        """False: soundfile would seek after every read.

        MP3 and Opus lose decoder state on a seek, and it fails if the length is unknown.
        """
        return False


def patched(source: Source, patches: Sequence[tuple[int, bytes]]) -> View:
    """The source with bytes replaced at some offsets, given in ascending order."""
    pieces: list[Source | bytes] = []
    at = 0
    for offset, content in patches:
        pieces += [source.part(at, offset), content]
        at = offset + len(content)
    return View(*pieces, source.part(at, source.size))


def after_id3(source: Source, at: int = 0) -> int:
    """The end of the ID3v2 tags that begin at `at`; `at` if there are none."""
    while (head := source.at(at, ID3_HEADER))[:3] == b"ID3" and len(head) == ID3_HEADER:
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0)))
        at += ID3_HEADER + size + (ID3_HEADER if head[5] & 0x10 else 0)
    return at
