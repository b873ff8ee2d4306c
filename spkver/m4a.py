"""AAC in MP4 (m4a, as VoxCeleb2 comes), which libsndfile cannot read: through PyAV, the extra `m4a`.

PyAV itself is BSD; its wheels hold an FFmpeg with x264 and x265, which are GPL-2. Imported when a file needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any

import numpy as np

from spkver.errors import InputError, load_optional
from spkver.files import StrPath


def is_m4a(head: bytes) -> bool:
    """Whether a file that begins like this is of the MP4 family."""
    return head[4:8] == b"ftyp"


class M4a:
    """The first audio stream of an open file, with the few members of soundfile.SoundFile that reading needs.

    Decoded as it is read: memory holds what was asked for. Its length is the header's, to within a packet.
    source: a descriptor or stream, closed in the end. Raises InputError for what FFmpeg cannot open.
    """

    extra_info = ""
    subtype = "AAC"

    def __init__(self, path: StrPath, source: int | IO[bytes]) -> None:
        self._path = path
        self._file = os.fdopen(source, "rb") if isinstance(source, int) else source
        try:
            self._av = load_optional("av", "m4a")
            self._container = self._guarded(self._av.open, self._file, mode="r")
            self._stream: Any = next(iter(self._container.streams.audio), None)
            self.samplerate = int(getattr(self._stream, "rate", None) or 0)
            self.channels = int(getattr(self._stream, "channels", None) or 0)
            if not (self.samplerate and self.channels):
                raise InputError(f"{path}: an MP4 file without sound that can be decoded")
            self.frames = self._length()
        except BaseException:
            self._file.close()
            raise
        self.seek(0)

    def __enter__(self) -> M4a:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()
        self._file.close()

    def seek(self, frame: int) -> None:
        """Where `read` begins. AAC has no exact seeking: everything before is decoded, and dropped."""
        self._skip = frame
        self._blocks = self._decode()
        self._rest = np.empty((0, self.channels), np.float32)

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next samples, float32 (up to `frames`, channels)."""
        blocks, count = [self._rest], len(self._rest)
        while count < frames and (block := self._guarded(next, self._blocks, None)) is not None:
            block, self._skip = block[self._skip :], max(0, self._skip - len(block))
            blocks.append(block)
            count += len(block)
        joined = np.concatenate(blocks)
        self._rest = joined[frames:]
        return joined[:frames]

    def _decode(self) -> Iterator[np.ndarray]:
        plain = self._av.AudioResampler(format="flt", rate=self.samplerate)
        self._container.seek(0)
        for frame in self._container.decode(self._stream):
            for block in plain.resample(frame):
                yield block.to_ndarray().reshape(-1, self.channels)

    def _length(self) -> int:
        if self._stream.duration is None:
            raise InputError(f"{self._path}: its header does not state its length; write it again as a file")
        return round(self._stream.duration * self._stream.time_base * self.samplerate)

    def _guarded(self, do: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return do(*arguments, **options)
        except self._av.FFmpegError as error:
            raise InputError(f"{self._path}: cannot be decoded ({error.strerror})") from error
