"""Open a recording with libsndfile or FFmpeg; several concatenated recordings become one."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import numpy as np
import soundfile

from spkver import containers, ffmpeg
from spkver.containers.source import Sequential, Source, after_id3
from spkver.errors import InputError
from spkver.ffmpeg import drop

_RUN_UP = 32 * 1152  # MP3 samples to decode before the wanted ones: a frame needs up to 511 bytes of earlier frames
_FLAC, _FLAC_BUFFER = b"fLaC\0\0\0\x22", 1 << 13  # start of a file; bytes that libsndfile reads at once
_STDERR = 2
_stderr_is_ours = threading.Lock()


class Decoder(Protocol):
    """The interface of an open recording."""

    samplerate: int
    channels: int
    frames: int
    subtype: str
    extra_info: str

    def skip(self, frames: int) -> None:
        """Skip `frames` samples. Call it at most once, before `read`."""

    def read(self, frames: int, dtype: str, always_2d: bool) -> np.ndarray:
        """The next samples (up to `frames`, channels)."""


@contextmanager
def opened(source: Source) -> Iterator[Decoder]:
    """Open a recording. Raises InputError for an incomplete file; exceptions of libsndfile pass through."""
    form = ffmpeg.format_of(source.at(after_id3(source), ffmpeg.HEAD))
    with ExitStack() as stack:
        parts: list[Decoder] = []
        for view in containers.views(source):
            if form:
                parts.append(stack.enter_context(ffmpeg.FFmpegFile(source.name, io.BufferedReader(view), form)))
            elif isinstance(source.file, int) and view.is_all_of(source):  # the fastest way
                parts.append(stack.enter_context(SndFile(source.file, closefd=False)))
            else:
                parts.append(stack.enter_context(SndFile(view)))
        yield parts[0] if len(parts) == 1 else Chain(source, parts)
        if isinstance(source.file, int) and isinstance(parts[0], SndFile) and parts[0].format == "FLAC":
            _refuse_second_flac(source, os.lseek(source.file, 0, os.SEEK_CUR))


def _refuse_second_flac(source: Source, at: int) -> None:
    """Raise InputError if another FLAC recording, which libsndfile ignores, begins near the read position."""
    if _FLAC in source.at(max(len(_FLAC), at - _FLAC_BUFFER), 2 * _FLAC_BUFFER):
        raise InputError(f"{source.name}: contains another recording after the first; split it")


class SndFile(Sequential):
    """A file that libsndfile decodes sequentially, from any sample on."""

    def skip(self, frames: int) -> None:
        """Skip `frames` samples. MP3 frames depend on earlier ones, so these are decoded and discarded."""
        if self.subtype.startswith("MPEG") and frames > _RUN_UP:
            with _without_mpg123():
                self.seek(frames - _RUN_UP)
                drop(self, _RUN_UP)
        elif self.subtype.startswith("MPEG") or not soundfile.SoundFile.seekable(self):
            drop(self, frames)
        else:
            self.seek(frames)


class Chain:
    """Concatenated recordings in one file, read as one.

    Raises InputError if they differ in sample rate or number of channels.
    """

    extra_info = ""
    subtype = ""

    def __init__(self, source: Source, parts: list[Decoder]) -> None:
        first = parts[0]
        for part in parts:
            if (part.samplerate, part.channels) != (first.samplerate, first.channels):
                raise InputError(
                    f"{source.name}: contains recordings of different formats ({first.samplerate} Hz, "
                    f"{first.channels} channels; {part.samplerate} Hz, {part.channels}); split it"
                )
        self.samplerate, self.channels = first.samplerate, first.channels
        self.frames = sum(part.frames for part in parts)
        self._parts = list(parts)

    def skip(self, frames: int) -> None:
        """Skip `frames` samples."""
        while len(self._parts) > 1 and frames >= self._parts[0].frames:
            frames -= self._parts.pop(0).frames
        self._parts[0].skip(frames)

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
    """Suppress messages of libmpg123 on standard error; other output is written afterwards.

    After a seek, libmpg123 complains about frames that start in earlier, unread frames; these frames are discarded.
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
