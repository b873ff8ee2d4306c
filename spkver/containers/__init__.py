"""What the containers of recordings state against what is in them, before a decoder sees them.

libsndfile reads a part of some files without a word, and refuses some that are whole. Here each file becomes one or
more views that libsndfile reads in full, or an InputError that says what is wrong. One module for each format.
"""

from __future__ import annotations

from spkver.containers import asf, au, caf, ebml, flac, mp4, mpeg, ogg, riff, sphere
from spkver.containers.source import Source, View, after_id3

_NO_MP3 = (b"fLaC", b"\xff\xf0", b"\xff\xf1", b"\xff\xf8", b"\xff\xf9")  # behind a tag: FLAC, or AAC


def views(source: Source) -> list[View]:
    """What to decode, one after the other; a format that is not known here is one view of the source itself."""
    head = source.at(0, 16)
    if head[:4] in riff.NAMES:
        return riff.views(source)
    if head.startswith(ogg.MAGIC):
        return ogg.views(source)
    if head.startswith(flac.MAGIC):
        return flac.views(source)
    if head.startswith(sphere.MAGIC):
        return sphere.views(source)
    if head.startswith(caf.MAGIC):
        return caf.views(source)
    if head.startswith(au.MAGIC):
        return au.views(source)
    if head.startswith(ebml.MAGIC):
        return ebml.views(source)
    if head.startswith(asf.MAGIC):
        return asf.views(source)
    if mp4.is_mp4(head):
        return mp4.views(source)
    if mpeg.is_mpeg(head) or (head[:3] == b"ID3" and not source.at(after_id3(source), 4).startswith(_NO_MP3)):
        return mpeg.views(source)
    return [View(source)]
