"""AU (Sun, NeXT): libsndfile takes a stated size of 0 literally."""

from __future__ import annotations

from spkver.containers.extent import refuse_more
from spkver.containers.source import Source, View, patched

MAGIC = b".snd"
_SIZE = 8  # offset
_UNKNOWN = b"\xff" * 4


def views(source: Source) -> list[View]:
    """The file, up to its end if the stated size is 0. Raises InputError if it is longer than stated."""
    start, size = (int.from_bytes(source.at(offset, 4), "big") for offset in (4, _SIZE))
    refuse_more(source.name, size, source.size - start)
    return [View(source) if size else patched(source, [(_SIZE, _UNKNOWN)])]
