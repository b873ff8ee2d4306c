"""WebM and Matroska: elements that state their sizes.

Not detected: a live recording, whose segment states neither size nor duration, truncated exactly between two blocks.
"""

from __future__ import annotations

from spkver.containers.source import Source, View
from spkver.errors import InputError

MAGIC = b"\x1aE\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


def views(source: Source) -> list[View]:
    """The file. Raises InputError if it is truncated."""
    at = 0
    while at < source.size and (element := _element(source, at)):
        name, size, body = element
        end = body + (size or 0)
        if end > source.size:
            raise InputError(f"{source.name}: truncated: {source.size} of {end} bytes; copy the file again")
        at = body if name == _SEGMENT else end  # continue inside a segment, and inside a cluster without a size
    return [View(source)]


def _element(source: Source, at: int) -> tuple[bytes, int | None, int] | None:
    """Name, size (None: not stated) and content offset of an element; None if there is no element."""
    head = source.at(at, 12)
    width = 9 - head[0].bit_length()
    if width > 4 or len(head) <= width:
        return None
    length = 9 - head[width].bit_length()
    largest = (1 << 7 * length) - 1
    size = int.from_bytes(head[width : width + length], "big") & largest
    return (head[:width], None if size == largest else size, at + width + length) if length < 9 else None
