"""NIST SPHERE: libsndfile does not detect truncated files, and does not support shorten."""

from __future__ import annotations

import math
import re

from spkver.containers.extent import refuse_cut, refuse_more
from spkver.containers.source import Source, View
from spkver.errors import InputError

MAGIC = b"NIST_1A\n"
_HEAD = 4096  # bytes that contain any header
_FIELD = re.compile(rb"^(\w+) -(?:i|s\d+) (\S+)", re.MULTILINE)


def views(source: Source) -> list[View]:
    """The file. Raises InputError for a truncated or compressed file."""
    head = source.at(0, _HEAD)
    fields = {key.decode(): value.decode("latin-1") for key, value in _FIELD.findall(head)}
    if "shorten" in fields.get("sample_coding", ""):
        raise InputError(
            f"{source.name}: SPHERE compressed with shorten; decode it first, for example in wav.scp: "
            f"sph2pipe -f wav {source.name} |"
        )
    try:
        stated = math.prod(int(fields[name]) for name in ("sample_count", "sample_n_bytes", "channel_count"))
        present = source.size - int(head[8:16])
        refuse_cut(source.name, stated, present)
        refuse_more(source.name, stated, present)
    except (KeyError, ValueError):
        pass
    return [View(source)]
