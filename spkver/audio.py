"""Read and write recordings as float32 waveforms in [-1, 1], with libsndfile, or FFmpeg for other formats.

A file that cannot be read in full raises InputError: a truncated recording is never taken for a complete one.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from spkver import decoders
from spkver.containers.extent import refuse_cut, refuse_more
from spkver.containers.source import Source
from spkver.decoders import Decoder
from spkver.errors import InputError
from spkver.files import StrPath, refuse_stand_in
from spkver.storage import located

OVERSHOOT_SECONDS = 0.5  # a segment may end this far past its recording and is cut, as in Kaldi
MAX_SECONDS = 3600.0  # default limit of a recording or segment: about 0.2 GB at 16 kHz
INT16_SCALE = 32768.0

# Container and coding of libsndfile that `write` uses, by suffix.
_FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
# Stated and actual sizes in the log of libsndfile, for AIFF, AU, and W64 ("riff").
_SIZES = re.compile(r"^\s*(SSND|riff|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
MIX = -1  # in place of a channel: the mean of all channels
_RATES = (2000, 192000)  # Hz; other rates mean a damaged header, and resampling would take hours or all memory
_INT16 = ("PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW")  # codings whose samples are 16-bit integers or less
_LOUDEST = 256.0  # float samples may exceed 1; beyond this they are unscaled integers or damaged
_ABOUT = ("FFMPEG", "MPEG_LAYER_I", "MPEG_LAYER_II")  # their stated length is accurate to about a frame
_BLOCK = 1 << 20  # frames of several channels at a time


@dataclass(frozen=True)
class Content:
    """A recording in memory: the bytes of a file, and a name for messages."""

    name: str
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name


File = StrPath | Content
"""A recording as a path, a URL, or content in memory"""


def read(
    path: File,
    sample_rate: int | None = None,
    *,
    start: float = 0.0,
    end: float | None = None,
    channel: int | None = None,
    max_seconds: float = MAX_SECONDS,
    allow_pipes: bool = False,
    keep_int16: bool = False,
) -> tuple[np.ndarray, int]:
    """Read a recording, or its part from `start` to `end` (seconds), as mono.

    path: a file (or its content) in any format of libsndfile, or with the extra `m4a` also m4a, mp4, webm, aac, amr and
        wma; with `allow_pipes`, also a shell command ending in `|`.
    sample_rate: resample to this rate (Hz); None keeps the rate of the file.
    channel: 0-based channel to use from a multi-channel file, or `MIX` for the mean of all channels.
    max_seconds: raise InputError for a longer recording or part before decoding it, to bound memory.
    keep_int16: return int16 if the file has at most 16 bits per sample and is not resampled; used by packs.

    Returns (waveform, rate): float32 (time,) in [-1, 1], and Hz.
    Raises InputError for a recording that is missing, empty, truncated, undecodable, too long, not finite, or has
    several channels while `channel` is None; and for a part outside the recording.
    """
    with _opened(path, allow_pipes) as file:
        rate = file.samplerate
        first, last = _range(path, file.frames, rate, start, end)
        column = _column(path, file.channels, channel)
        if last - first > max_seconds * rate:
            duration = (last - first) / rate
            raise InputError(f"{path}: too long ({duration:.1f} s, maximum {max_seconds:g} s); split it into segments")
        file.skip(first)
        as_int16 = keep_int16 and column != MIX and file.subtype in _INT16 and sample_rate in (None, rate)
        waveform = _samples(file, last - first, column, "int16" if as_int16 else "float32")
        if len(waveform) < last - first - (rate // 10 if file.subtype in _ABOUT else 0):
            raise InputError(f"{path}: truncated: {len(waveform)} of {last - first} samples; copy the file again")
    if not len(waveform):
        raise InputError(f"{path}: empty (no samples)")
    if not as_int16:
        peak = float(np.abs(waveform).max())  # NaN if any sample is
        if not np.isfinite(peak):
            raise InputError(f"{path}: NaN or infinite samples")
        if peak > _LOUDEST:
            raise InputError(f"{path}: {_too_loud(peak)}")
    if sample_rate is not None:
        waveform, rate = resample(waveform, rate, sample_rate), sample_rate
    return np.ascontiguousarray(waveform), rate


def seconds(path: File) -> float:
    """The duration of a recording in seconds, from its header. Raises InputError as `read` does."""
    with _opened(path, allow_pipes=False) as file:
        return float(file.frames / file.samplerate)


def channels(path: File) -> int:
    """The number of channels of a recording, from its header. Raises InputError as `read` does."""
    with _opened(path, allow_pipes=False) as file:
        return int(file.channels)


def sample_rates(paths: Sequence[StrPath], most: int = 200) -> Counter[int]:
    """Count the sample rates (Hz) in the headers of some `most` recordings; unreadable files are skipped."""
    found: Counter[int] = Counter()
    for path in paths[:: max(1, len(paths) // most)]:
        with suppress(InputError), _opened(path, allow_pipes=False) as file:
            found[file.samplerate] += 1
    return found


def rate_warning(found: Counter[int], wanted: int) -> str | None:
    """A warning if recordings of these rates (Hz) do not suit the rate `wanted` of a pack or model; or None.

    Recordings of a lower rate have no energy in the upper band, and a telephone model was not trained on wide-band
    speech. Downsampling to 16 kHz needs no warning.
    """
    below, above = sorted(rate for rate in found if rate < wanted), sorted(rate for rate in found if rate > wanted)
    if below:
        return (
            f"{_share(found, below)} of the recordings have a sample rate below {wanted} Hz (lowest {below[0]}): they "
            f"are upsampled, and their empty band above {below[0] // 2} Hz misleads a model of {wanted} Hz; "
            "for telephone speech pack at 8000 Hz and train with front_end: telephone"
        )
    if above and wanted < 16000:
        return (
            f"{_share(found, above)} of the recordings have a sample rate above {wanted} Hz (highest {above[-1]}): "
            "they are downsampled, but a model for telephone speech was not trained on wide-band recordings"
        )
    return None


def _share(found: Counter[int], rates: Sequence[int]) -> str:
    return f"{sum(found[rate] for rate in rates) / sum(found.values()):.0%}"


def resample(waveform: np.ndarray, old: int, new: int) -> np.ndarray:
    """Change the sample rate from `old` to `new` Hz with soxr: flat to 0.91 of the band, aliases below -120 dB.

    waveform: float32 (time,). Returns float32 (time * new / old,), rounded; half a sample counts as one.
    Raises InputError for an invalid rate.
    """
    old = whole_rate(old)
    return waveform if old == new else soxr.resample(waveform, old, new)


def whole_rate(rate: Any) -> int:
    """The sample rate as int. Raises InputError for a rate that is not an integer or out of range."""
    try:
        if int(rate) == rate and _RATES[0] <= rate <= _RATES[1]:
            return int(rate)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"the sample rate {rate!r} is not an integer from {_RATES[0]} to {_RATES[1]} Hz")


def unusable(waveform: np.ndarray, sample_rate: int, min_seconds: float) -> str | None:
    """The reason why a recording cannot be used, or None.

    Reasons: empty, not finite, shorter than `min_seconds`, not scaled to [-1, 1], or silent (all samples equal, or the
    peak below one step of 16-bit PCM). waveform: (time,), float or int16.
    """
    if not len(waveform):
        return "empty (no samples)"
    whole = waveform.dtype == np.int16
    if not whole and not np.isfinite(waveform).all():
        return "NaN or infinite samples"
    duration = len(waveform) / sample_rate
    if duration < min_seconds:
        return f"too short ({duration:.3f} s, minimum {min_seconds:g} s)"
    low, high = float(waveform.min()), float(waveform.max())
    if low == high or max(-low, high) < (1 if whole else 1 / INT16_SCALE):
        return "silent"
    return None if whole or max(-low, high) <= _LOUDEST else _too_loud(max(-low, high))


def _too_loud(peak: float) -> str:
    return f"a peak of {peak:g}, where full scale is 1; divide the samples by 32768, or by the peak"


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] as 16-bit PCM, rounded and clipped; exact for samples read from 16-bit PCM.

    int16 is returned unchanged.
    """
    if waveform.dtype == np.int16:
        return waveform
    return np.clip(np.rint(waveform * np.float32(INT16_SCALE)), -32768, 32767).astype("<i2")


def from_int16(samples: np.ndarray) -> np.ndarray:
    """16-bit PCM as float32 in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(INT16_SCALE)


def write(path: StrPath, waveform: np.ndarray, sample_rate: int) -> None:
    """Write a mono waveform (time,) in [-1, 1]. The suffix sets the format: wav, flac (16 bit), ogg, opus, mp3.

    Not atomic: write a corpus inside `files.atomic_directory`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise InputError(f"{path}: cannot write the format '{suffix}'; known: {', '.join(_FORMATS)}")
    container, coding = _FORMATS[suffix]
    # libsndfile multiplies floats by 32767; converted here, the samples read back are equal
    samples = to_int16(waveform) if coding == "PCM_16" else waveform
    soundfile.write(path, samples, sample_rate, format=container, subtype=coding)


def is_pipe(path: StrPath) -> bool:
    """Whether an entry of wav.scp is a shell command rather than a file."""
    return str(path).rstrip().endswith("|")


@contextmanager
def _opened(path: File, allow_pipes: bool) -> Iterator[Decoder]:
    """The recording as an open decoder. Raises InputError if it cannot be decoded."""
    with _source(path, allow_pipes) as source:
        try:
            with decoders.opened(source) as file:
                _refuse_lies(path, file)
                yield file
        except soundfile.LibsndfileError as error:
            if not isinstance(path, Content):
                refuse_stand_in(path)
            raise InputError(f"{path}: cannot be decoded ({error.error_string})") from error
        except (soundfile.SoundFileError, TypeError, ValueError, OSError) as error:
            raise InputError(f"{path}: cannot be decoded ({error})") from error
        except MemoryError as error:
            raise InputError(f"{path}: its header states more samples than fit in memory; is it damaged?") from error


@contextmanager
def _source(path: File, allow_pipes: bool) -> Iterator[Source]:
    if isinstance(path, Content):
        if not path.data:
            raise InputError(f"{path}: empty (0 bytes)")
        yield Source.of(path.name, path.data)
    elif not is_pipe(path):
        handle = _open_file(path)
        try:
            yield Source.of(path, handle)
        finally:
            os.close(handle)
    elif allow_pipes:
        yield Source.of(path, _run(str(path)))
    else:
        raise InputError(f"{path}: a shell command; use --allow-pipes to run it, or decode the recording first")


def _open_file(path: StrPath) -> int:
    """A file descriptor. Raises InputError if the path is not a file, is empty, or cannot be read."""
    try:
        handle = os.open(located(path), os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    except ValueError as error:  # whose text depends on the Python version
        raise InputError(f"{path}: cannot be opened (the name contains a NUL)") from error
    status = os.fstat(handle)
    reason = None if stat.S_ISREG(status.st_mode) else "not a file"
    if reason is None and not status.st_size:
        reason = "empty (0 bytes)"
    if reason:
        os.close(handle)
        raise InputError(f"{path}: {reason}")
    return handle


def _refuse_lies(path: File, file: Decoder) -> None:
    """Raise InputError for a header that does not match the file."""
    if not _RATES[0] <= file.samplerate <= _RATES[1]:
        raise InputError(f"{path}: its header states {file.samplerate} Hz; is it damaged?")
    if file.frames >= 1 << 62:
        raise InputError(f"{path}: its header does not state its length (written to a pipe?); write it again to a file")
    for chunk, *sizes in _SIZES.findall(file.extra_info):
        stated, present = map(int, sizes)
        refuse_cut(str(path), stated, present)
        if chunk == "riff":
            refuse_more(str(path), stated, present)


def _samples(file: Decoder, count: int, column: int, dtype: str) -> np.ndarray:
    """Up to `count` samples of one channel, or of the mean of all."""
    if file.channels == 1:
        return file.read(count, dtype=dtype, always_2d=True)[:, 0]
    out = np.empty(count, dtype)
    done = 0
    while done < count and len(block := file.read(min(_BLOCK, count - done), dtype=dtype, always_2d=True)):
        out[done : done + len(block)] = block.mean(axis=1) if column == MIX else block[:, column]
        done += len(block)
    return out[:done]


def _range(path: File, frames: int, rate: int, start: float, end: float | None) -> tuple[int, int]:
    first = round(start * rate)
    last = frames if end is None else round(end * rate)
    if not 0 <= first < max(frames, 1) or last < first or last > frames + OVERSHOOT_SECONDS * rate:
        shown = "its end" if end is None else f"{end:g} s"
        raise InputError(f"{path}: no segment from {start:g} s to {shown}: the recording has {frames / rate:.3f} s")
    return first, min(last, frames)


def _column(path: File, channels: int, channel: int | None) -> int:
    if channel == MIX:
        return MIX if channels > 1 else 0
    if channel is None and channels > 1:
        raise InputError(f"{path}: {channels} channels; choose one from 0 to {channels - 1} (--channel)")
    if not 0 <= (channel or 0) < channels:
        raise InputError(f"{path}: no channel {channel}: the file has {channels} channels, numbered from 0")
    return channel or 0


@functools.lru_cache(maxsize=1)  # segments of a recording are consecutive
def _run(pipe: str) -> bytes:
    command = pipe.rstrip().removesuffix("|")
    done = subprocess.run(command, shell=True, capture_output=True, check=False)  # noqa: S602 - asked for by the user
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise InputError(f"{pipe}: the command failed with code {done.returncode}: {last[:200]}")
    return done.stdout
