"""Check the container of a recording before decoding it.

libsndfile silently reads only a part of some files, and rejects some valid ones. Here each file becomes one or more
views that libsndfile reads in full, or raises InputError. There is one module per format.
"""

from __future__ import annotations

from typing import Any

from spkver.containers import asf, au, caf, ebml, flac, mp4, mpeg, ogg, riff, sphere
from spkver.containers.source import Source, View, after_id3

# the first bytes of a file, and the module of its format
_FORMS: tuple[tuple[bytes | tuple[bytes, ...], Any], ...] = (
    (riff.NAMES, riff),
    (ogg.MAGIC, ogg),
    (flac.MAGIC, flac),
    (sphere.MAGIC, sphere),
    (caf.MAGIC, caf),
    (au.MAGIC, au),
    (ebml.MAGIC, ebml),
    (asf.MAGIC, asf),
)
_NO_MP3 = (b"fLaC", b"\xff\xf0", b"\xff\xf1", b"\xff\xf8", b"\xff\xf9")  # after an ID3 tag: FLAC or AAC


def views(source: Source) -> list[View]:
    """The views to decode in order; a file of any other format is one view of the source."""
    head = source.at(0, 16)
    for start, form in _FORMS:
        if head.startswith(start):
            return form.views(source)
    if mp4.is_mp4(head):
        return mp4.views(source)
    if mpeg.is_mpeg(head) or (head[:3] == b"ID3" and not source.at(after_id3(source), 4).startswith(_NO_MP3)):
        return mpeg.views(source)
    return [View(source)]
