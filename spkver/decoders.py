"""A recording's bytes as an open decoder: libsndfile's, FFmpeg's, or several in a row."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import numpy as np
import soundfile

from spkver import containers, ffmpeg
from spkver.containers.source import Source, View, after_id3
from spkver.errors import InputError

_BLOCK = 1 << 20  # frames dropped at once
_STDERR = 2
_stderr_is_ours = threading.Lock()


class Decoder(Protocol):
    """What reading needs of soundfile.SoundFile."""

    samplerate: int
    channels: int
    frames: int
    subtype: str
    extra_info: str

    def read(self, frames: int, dtype: str, always_2d: bool) -> np.ndarray:
        """The next samples (up to `frames`, channels)."""

    def seekable(self) -> bool:
        """Whether it has `seek`; if not, what comes before is decoded, and dropped."""


@contextmanager
def opened(source: Source) -> Iterator[Decoder]:
    """Open a recording. Raises InputError for what is not whole; what else libsndfile raises is left as it is."""
    head = source.at(after_id3(source), ffmpeg.HEAD)
    form = ffmpeg.format_of(head)
    views = containers.views(source)
    with ExitStack() as stack:
        if form:
            decoders = [
                stack.enter_context(ffmpeg.FFmpegFile(source.name, io.BufferedReader(view), form)) for view in views
            ]
        else:
            decoders = [stack.enter_context(_sndfile(source, view)) for view in views]
        yield decoders[0] if len(decoders) == 1 else Chain(source, decoders)


def skip(decoder: Any, frames: int) -> None:
    """Go on so many frames from the start of a decoder that was just opened."""
    if not frames:
        return
    if decoder.seekable() and decoder.subtype.startswith("MPEG"):
        with _without_mpg123():
            decoder.seek(frames - 1)
            decoder.read(1)
    elif decoder.seekable():
        decoder.seek(frames)
    else:
        while frames > 0 and len(block := decoder.read(min(frames, _BLOCK), dtype="float32", always_2d=True)):
            frames -= len(block)


def _sndfile(source: Source, view: View) -> soundfile.SoundFile:
    if isinstance(source.file, int) and view.is_all_of(source):  # as fast as libsndfile is
        return soundfile.SoundFile(source.file, closefd=False)
    return soundfile.SoundFile(view)


class Chain:
    """Recordings that stand one behind the other in a file, as one.

    Raises InputError where they differ in rate or channels.
    """

    extra_info = ""
    subtype = "CHAIN"

    def __init__(self, source: Source, parts: list[Any]) -> None:
        first = parts[0]
        for part in parts:
            if (part.samplerate, part.channels) != (first.samplerate, first.channels):
                raise InputError(
                    f"{source.name}: holds recordings of different forms, one behind the other ({first.samplerate} Hz, "
                    f"{first.channels} channels; {part.samplerate} Hz, {part.channels}); split it"
                )
        self.samplerate, self.channels = first.samplerate, first.channels
        self.frames = sum(part.frames for part in parts)
        self._parts = list(parts)

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, frame: int) -> None:
        """Where to read next, counted from the start; once, before anything was read."""
        while len(self._parts) > 1 and frame >= self._parts[0].frames:
            frame -= self._parts.pop(0).frames
        skip(self._parts[0], frame)

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next samples (up to `frames`, channels)."""
        blocks = [np.empty((0, self.channels), dtype)]
        while frames and self._parts:
            blocks.append(self._parts[0].read(frames, dtype=dtype, always_2d=True))
            frames -= len(blocks[-1])
            if frames:
                self._parts.pop(0)
        return np.concatenate(blocks)


@contextmanager
def _without_mpg123() -> Iterator[None]:
    """Keep libmpg123's remarks off standard error; what else is written there meanwhile comes afterwards.

    After a seek it decodes some frames whose beginnings it has not read, says so, and drops them.
    """
    with _stderr_is_ours, tempfile.TemporaryFile() as said:
        before = os.dup(_STDERR)
        os.dup2(said.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(before, _STDERR)
            os.close(before)
            said.seek(0)
            for line in said:
                if b"libmpg123" not in line:
                    os.write(_STDERR, line)
