"""Codec augmentation: a recording is encoded and decoded in memory at a random bit rate; its length does not change.

A codec is `Codec(config)(waveform float32 (time,) in [-1, 1], sample_rate, random)`. It runs on the CPU on one
utterance at a time, in `spkver pack --simulate`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import soundfile
import soxr
from pydantic import Field

from spkver.augment.draw import Range
from spkver.config import Component

TELEPHONE_HZ = 8000
LOUDEST = np.float32(1.0)
# bit rates of libsndfile at compression level 1 and 0
OPUS_KBIT = (6.0, 256.0)
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
# maximum sample rate: lowest and highest bit rate, for MPEG 2.5, 2 and 1
MP3_KBIT = {12000: (8.0, 64.0), 24000: (8.0, 160.0), 48000: (32.0, 320.0)}
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# delay of the LAME encoder and the decoder, where frames are too small for the tag that states it
MP3_DELAY = 576 + 529


class MuLawConfig(Component):
    """G.711 µ-law, used in telephone networks of North America and Japan."""

    name: Literal["mu_law"] = "mu_law"
    sample_rate: int = Field(TELEPHONE_HZ, gt=0, description="Hz at which it is coded")


class ALawConfig(Component):
    """G.711 A-law, used in telephone networks elsewhere."""

    name: Literal["a_law"] = "a_law"
    sample_rate: int = Field(TELEPHONE_HZ, gt=0, description="Hz at which it is coded")


class GSMConfig(Component):
    """GSM 06.10 full rate, 13 kbit/s, used in early mobile telephones."""

    name: Literal["gsm"] = "gsm"


class OpusConfig(Component):
    """Opus at a variable rate around a random one, used in internet calls and messengers."""

    name: Literal["opus"] = "opus"
    kbit_per_second: Annotated[Range, Field(description=f"{OPUS_KBIT[0]:g} to {OPUS_KBIT[1]:g}")] = (8.0, 32.0)


class MP3Config(Component):
    """MPEG layer III at a random constant rate (the nearest one of the format)."""

    name: Literal["mp3"] = "mp3"
    kbit_per_second: Range = (16.0, 64.0)


class VorbisConfig(Component):
    """Ogg Vorbis at a random quality from 0 (lowest) to 1."""

    name: Literal["vorbis"] = "vorbis"
    quality: Range = (0.0, 0.5)


class BandConfig(Component):
    """Zero-phase band-pass filter with 6th-order Butterworth magnitude at each end; no codec."""

    name: Literal["band"] = "band"
    low_hz: Range = (50.0, 300.0)
    high_hz: Range = (3000.0, 7000.0)


class MuLaw:
    """Coded in 8 bits a sample."""

    Config = MuLawConfig
    subtype = "ULAW"

    def __init__(self, config: MuLawConfig | ALawConfig) -> None:
        self.config = config

    def __call__(self, waveform: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
        """float32 (time,) to the same shape."""
        return coded(waveform, sample_rate, self.config.sample_rate, "WAV", self.subtype)


class ALaw(MuLaw):
    """Coded in 8 bits a sample."""

    Config = ALawConfig  # type: ignore[assignment]
    subtype = "ALAW"


class GSM:
    """GSM codec: 33 bytes per 20 ms at 8 kHz."""

    Config = GSMConfig

    def __init__(self, config: GSMConfig) -> None:
        self.config = config

    def __call__(self, waveform: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
        """float32 (time,) to the same shape."""
        return coded(waveform, sample_rate, TELEPHONE_HZ, "WAV", "GSM610")


class Opus:
    """Opus codec; at the lowest rates it removes the upper half of the band."""

    Config = OpusConfig

    def __init__(self, config: OpusConfig) -> None:
        self.config = config

    def __call__(self, waveform: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
        """float32 (time,) to the same shape."""
        level = _level(random.uniform(*self.config.kbit_per_second), *OPUS_KBIT)
        rate = _taken(sample_rate, OPUS_RATES)
        return coded(waveform, sample_rate, rate, "OGG", "OPUS", compression_level=level)


class MP3:
    """MP3 codec, including the low-pass filter of the encoder."""

    Config = MP3Config

    def __init__(self, config: MP3Config) -> None:
        self.config = config

    def __call__(self, waveform: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
        """float32 (time,) to the same shape."""
        rate = _taken(sample_rate, MP3_RATES)
        lowest, highest = next(ends for up_to, ends in MP3_KBIT.items() if rate <= up_to)
        level = _level(random.uniform(*self.config.kbit_per_second), lowest, highest)
        how = {"compression_level": level, "bitrate_mode": "CONSTANT"}
        return coded(waveform, sample_rate, rate, "MP3", "MPEG_LAYER_III", **how)


class Vorbis:
    """Ogg Vorbis codec."""

    Config = VorbisConfig

    def __init__(self, config: VorbisConfig) -> None:
        self.config = config

    def __call__(self, waveform: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
        """float32 (time,) to the same shape."""
        level = float(np.clip(1.0 - random.uniform(*self.config.quality), 0.0, 1.0))
        return coded(waveform, sample_rate, sample_rate, "OGG", "VORBIS", compression_level=level)


class Band:
    """Band-pass filter, as of a narrow channel or a cheap microphone."""

    Config = BandConfig

    def __init__(self, config: BandConfig) -> None:
        self.config = config

    def __call__(self, waveform: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
        """float32 (time,) to the same shape. No low-pass at or above half the sample rate."""
        size = len(waveform)
        padded = 1 << (size + sample_rate // 10).bit_length()  # room for the filter tail
        hz = np.fft.rfftfreq(padded, 1.0 / sample_rate)
        low, high = random.uniform(*self.config.low_hz), random.uniform(*self.config.high_hz)
        power = np.ones_like(hz)
        if low > 0:
            power = np.divide(1.0, 1.0 + (low / np.maximum(hz, 1e-3)) ** 12)
        if high < sample_rate / 2:
            power = power / (1.0 + (hz / high) ** 12)
        filtered = np.fft.irfft(np.fft.rfft(waveform, padded) * np.sqrt(power), padded)
        return filtered[:size].astype(np.float32)


def coded(waveform: np.ndarray, sample_rate: int, at: int, container: str, subtype: str, **settings: Any) -> np.ndarray:
    """A waveform (time,) encoded and decoded by libsndfile at the sample rate `at` (Hz), with its original length.

    settings: compression_level and bitrate_mode of soundfile.write. Samples beyond full scale are clipped.
    """
    there = np.clip(soxr.resample(waveform, sample_rate, at), -LOUDEST, LOUDEST)
    stream = io.BytesIO()
    soundfile.write(stream, there, at, format=container, subtype=subtype, **settings)
    stream.seek(0)
    back, _ = soundfile.read(stream, dtype="float32")
    if container == "MP3" and len(back) > len(there):
        back = back[MP3_DELAY:]
    back = soxr.resample(_fit(back, len(there)), at, sample_rate)
    return _fit(back, len(waveform))


def _fit(waveform: np.ndarray, size: int) -> np.ndarray:
    return np.pad(waveform[:size], (0, max(0, size - len(waveform))))


def _taken(sample_rate: int, rates: Sequence[int]) -> int:
    """The sample rate for a codec: the same if supported, else the next higher one, else the highest."""
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])


def _level(kbit: float, lowest: float, highest: float) -> float:
    """libsndfile's compression level for a bit rate; below 1, which its MP3 encoder rejects."""
    return float(np.clip((highest - kbit) / (highest - lowest), 0.0, 0.999))
