"""Ogg (Vorbis, Opus, FLAC): check that all pages are present, and make one view per link of a chain.

A page states its length, its number in the stream, whether its last packet continues, and whether it is the last page.
Not detected: a stream truncated exactly between two pages with no packet continuing, because live streams do not set
the end flag either.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from spkver.containers.source import Source, View, patched
from spkver.errors import InputError

MAGIC = b"OggS"
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_LARGEST_HEADER = 27 + 255
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_OPUS_RATE = 12  # offset of the input rate in the first packet of Opus


class _Page(NamedTuple):
    start: int
    end: int
    body: int  # offset of the content after the header
    flags: int
    granule: int  # time at its end, in samples; -1 if no packet ends on it
    stream: int
    number: int
    unfinished: bool  # its last packet continues on the next page

    def bytes(self, source: Source) -> bytes:
        return source.at(self.start, self.end - self.start)


def views(source: Source) -> list[View]:
    """One view per link of the chain. Raises InputError if pages are missing."""
    return [_link(source, pages) for pages in _links(source)]


def _links(source: Source) -> list[list[_Page]]:
    links: list[list[_Page]] = [[]]
    for page in _pages(source):
        link = links[-1]
        if link and page.flags & _FIRST and not link[-1].flags & _FIRST:
            links.append([])
        links[-1].append(page)
    return [link for link in links if link]


def _pages(source: Source) -> Iterator[_Page]:
    """The pages. Raises InputError for a truncated page, and for other bytes between pages."""
    at, ended = 0, False
    while at < source.size:
        head = source.at(at, _LARGEST_HEADER)
        if not head.startswith(MAGIC):
            if ended and head[: len(MAGIC)] != MAGIC[: len(head)] and not _found(source, at):
                return  # a tag, or padding
            raise InputError(f"{source.name}: damaged or truncated: no Ogg page at byte {at}; copy the file again")
        lacing = head[27 : 27 + head[26]] if len(head) > 26 else b""
        body = at + 27 + len(lacing)
        end = body + sum(lacing)
        if len(head) < 27 + (head[26] if len(head) > 26 else 0) or end > source.size:
            raise InputError(f"{source.name}: truncated: its last Ogg page is incomplete; copy the file again")
        granule, stream, number = struct.unpack_from("<qII", head, 6)
        yield _Page(at, end, body, head[5], granule, stream, number, lacing[-1:] == b"\xff")
        at, ended = end, bool(head[5] & _LAST)


def _found(source: Source, at: int) -> bool:
    """Whether any page begins after `at`."""
    block, overlap = 1 << 20, len(MAGIC) - 1
    return any(MAGIC in source.at(start, block + overlap) for start in range(at, source.size, block))


def _link(source: Source, pages: list[_Page]) -> View:
    """One link as a file. Raises InputError if a page is missing or damaged."""
    last: dict[int, _Page] = {}
    audio = [page for page in pages if page.granule > 0]
    for page in pages:
        before = last.get(page.stream)
        # recordings of live streams have a gap after the headers
        if before and page.number != (before.number + 1) % (1 << 32) and before.granule:
            raise InputError(f"{source.name}: damaged: Ogg pages are missing at byte {page.start}; copy the file again")
        last[page.stream] = page
    if any(page.unfinished or not (page.granule or page.flags & _LAST) for page in last.values()):
        raise InputError(f"{source.name}: truncated: its last Ogg packet is incomplete; copy the file again")
    # libogg skips pages with a wrong checksum, and the decoder then returns too few samples, except for the first and
    # the last page, which are checked here
    for page in (*audio[:1], *last.values()):
        if _checksum(page.bytes(source)) != int.from_bytes(source.at(page.start + 22, 4), "little"):
            raise InputError(f"{source.name}: damaged: the Ogg page at byte {page.start}; copy the file again")
    start = pages[0].start
    link = source.part(start, pages[-1].end)
    return patched(link, [(page.start - start, content) for page, content in _mended(source, pages, last)])


def _mended(source: Source, pages: list[_Page], last: dict[int, _Page]) -> Iterator[tuple[_Page, bytes]]:
    """Pages with corrections for libsndfile: Opus without an input rate, or without the flag of the last page."""
    for page in pages:
        content = bytearray(page.bytes(source)) if page.flags & _FIRST or page is last[page.stream] else bytearray()
        if page.flags & _FIRST:
            rate = page.body - page.start + _OPUS_RATE
            if content[page.body - page.start :].startswith(b"OpusHead") and not any(content[rate : rate + 4]):
                content[rate : rate + 4] = (48000).to_bytes(4, "little")
                yield page, _sealed(content)
        elif content and not page.flags & _LAST:
            content[5] |= _LAST
            yield page, _sealed(content)


def _sealed(page: bytearray) -> bytes:
    page[22:26] = _checksum(bytes(page)).to_bytes(4, "little")
    return bytes(page)


def _checksum(page: bytes) -> int:
    """The CRC of Ogg: zlib's CRC with the bits of every byte and of the result reversed, and initial value 0."""
    plain = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    return int(f"{zlib.crc32(plain, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)
