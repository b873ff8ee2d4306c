"""ASF (WMA): the header states the file size, or 0 for a stream. FFmpeg does not detect all truncated files."""

from __future__ import annotations

from spkver.containers.extent import refuse_cut, refuse_more
from spkver.containers.source import Source, View

MAGIC = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_HEADER = 1 << 16  # bytes that contain the properties
_FILE_SIZE = 40  # offset in the properties


def views(source: Source) -> list[View]:
    """The file. Raises InputError if its size differs from the stated one."""
    head = source.at(0, _HEADER)
    at = head.find(_PROPERTIES) + _FILE_SIZE
    if at > _FILE_SIZE:
        stated = int.from_bytes(head[at : at + 8], "little")
        refuse_cut(source.name, stated, source.size)
        refuse_more(source.name, stated, source.size)
    return [View(source)]
