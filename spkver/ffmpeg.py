"""Read formats that libsndfile does not (AAC in MP4 as in VoxCeleb2, WebM, AMR, WMA, ...) with PyAV, the extra `m4a`.

PyAV is BSD-licensed; its wheels contain FFmpeg with x264 and x265, which are GPL-2. PyAV is imported only when needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np

from spkver.containers import asf, ebml
from spkver.errors import InputError, load_optional
from spkver.files import StrPath

_BLOCK = 1 << 20  # samples decoded at once when skipping
HEAD = 64  # bytes needed to recognise the format


class Format(NamedTuple):
    """A container, or a codec in a container, and its magic bytes."""

    name: str
    demuxer: str  # FFmpeg's name; "" if not supported
    offset: int
    magic: bytes
    begins: bytes = b""


_FORMATS = (
    *(Format("MP4 or QuickTime", "mov", 4, magic) for magic in (b"ftyp", b"moov", b"mdat", b"wide")),
    Format("WebM or Matroska", "matroska", 0, ebml.MAGIC),
    *(Format("AAC (ADTS)", "aac", 0, bytes([0xFF, second])) for second in (0xF0, 0xF1, 0xF8, 0xF9)),
    Format("AMR", "amr", 0, b"#!AMR"),
    Format("WMA (ASF)", "asf", 0, asf.MAGIC),
    Format("Speex", "ogg", 28, b"Speex   ", b"OggS"),
    Format("FLAC in Ogg", "ogg", 28, b"\x7fFLAC", b"OggS"),
    *(Format("AAC in CAF", "caf", 28, magic, b"caff") for magic in (b"aac ", b"aach", b"aacp")),
    *(Format("AAC in WAV", "", 20, tag.to_bytes(2, "little"), b"RIFF") for tag in (0xFF, 0x1600, 0x1610)),
    *(Format("WMA in WAV", "wav", 20, tag.to_bytes(2, "little"), b"RIFF") for tag in (0x160, 0x161, 0x162)),
    Format("AVI", "", 8, b"AVI ", b"RIFF"),
    Format("AC-3", "", 0, b"\x0b\x77"),
    Format("Flash video", "", 0, b"FLV\x01"),
    Format("MPEG video", "", 0, b"\0\0\x01\xba"),
    Format("MPEG transport stream", "", 0, b"\x47\x40"),
    Format("Monkey's Audio", "", 0, b"MAC "),
    Format("Musepack", "", 0, b"MPCK"),
    Format("Musepack", "", 0, b"MP+"),
    Format("RealMedia", "", 0, b".RMF"),
    Format("TTA", "", 0, b"TTA1"),
    Format("WavPack", "", 0, b"wvpk"),
    Format("MIDI", "", 0, b"MThd"),
)


def format_of(head: bytes) -> Format | None:
    """The format of a file with these first bytes; None if libsndfile reads it or it is unknown."""
    for known in _FORMATS:
        if head.startswith(known.begins) and head.startswith(known.magic, known.offset):
            return known
    return None


def drop(decoder: Any, frames: int) -> None:
    """Decode and discard `frames` samples."""
    while frames > 0 and len(block := decoder.read(min(frames, _BLOCK), dtype="float32", always_2d=True)):
        frames -= len(block)


class DecoderMissingError(InputError):
    """The extra `m4a` is not installed."""


class FFmpegFile:
    """The first audio stream of an open file, with the members of soundfile.SoundFile that reading needs.

    Samples are decoded on reading. The length is the header's, accurate to a packet, or the sum over packets if the
    header states none. Raises InputError if FFmpeg cannot open the file or cannot read it to the end.
    """

    extra_info = ""
    subtype = "FFMPEG"

    def __init__(self, path: StrPath, file: IO[bytes], form: Format) -> None:
        self._path, self._file, self._form = path, file, form
        if not form.demuxer:
            raise InputError(f"{path}: {form.name} is not supported; decode it first, e.g. ffmpeg -i {path} x.wav")
        try:
            self._av = load_optional("av", "m4a")
        except InputError as error:
            raise DecoderMissingError(f"{path}: {form.name}: {error}") from error
        self._open()
        try:
            self.samplerate = int(getattr(self._stream, "rate", None) or 0)
            self.channels = int(getattr(self._stream, "channels", None) or 0)
            if not (self.samplerate and self.channels):
                raise InputError(f"{path}: {form.name} without a decodable audio stream")
            self.frames = self._length()
        except BaseException:
            self._container.close()
            raise
        self._blocks = self._decode()
        self._rest = np.empty((0, self.channels), np.float32)

    def __enter__(self) -> FFmpegFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def skip(self, frames: int) -> None:
        """Skip `frames` samples by decoding them; after a seek, the first decoded packet would be wrong."""
        drop(self, frames)

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next samples, float32 (up to `frames`, channels)."""
        blocks, count = [self._rest], len(self._rest)
        while count < frames and (block := self._guarded(next, self._blocks, None)) is not None:
            blocks.append(block)
            count += len(block)
        joined = np.concatenate(blocks)
        self._rest = joined[frames:]
        return joined[:frames]

    def _open(self) -> None:
        # name the demuxer: FFmpeg could take the file for a playlist and open other files
        self._container = self._guarded(self._av.open, self._file, mode="r", format=self._form.demuxer)
        self._stream: Any = next(iter(self._container.streams.audio), None)

    def _decode(self) -> Iterator[np.ndarray]:
        plain = self._av.AudioResampler(format="flt", rate=self.samplerate)
        for packet in self._container.demux(self._stream):
            if packet.is_corrupt:
                raise InputError(f"{self._path}: truncated: the last packet is incomplete; copy the file again")
            for frame in packet.decode():
                for block in plain.resample(frame):
                    yield block.to_ndarray().reshape(-1, self.channels)

    def _length(self) -> int:
        """The number of samples: from the header of an MP4 file, otherwise from the packets."""
        if self._form.demuxer == "mov" and self._stream.duration is not None:
            return round(self._stream.duration * self._stream.time_base * self.samplerate)
        stated = (self._container.duration or 0) / self._av.time_base if self._form.demuxer == "matroska" else 0
        ticks = self._guarded(lambda: sum(packet.duration or 0 for packet in self._container.demux(self._stream)))
        seconds = float(ticks * self._stream.time_base)
        if seconds < stated - 0.1 or not seconds:
            raise InputError(
                f"{self._path}: truncated: {seconds:.3f} of {stated:.3f} s of packets; copy the file again"
            )
        self._container.close()
        self._file.seek(0)
        self._open()
        return round(seconds * self.samplerate)

    def _guarded(self, do: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return do(*arguments, **options)
        except self._av.FFmpegError as error:
            raise InputError(f"{self._path}: cannot be decoded as {self._form.name} ({error.strerror})") from error
