"""Recording conditions of a session: room, noise, microphone, level and, for some, a telephone channel.

All functions are deterministic given their random generator; waveforms are float64 (time,) at 16 kHz in [-1, 1].
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from spkver.audio import resample

RATE = 16000
_EQ_HZ = np.geomspace(60.0, 8000.0, 9)  # points of the microphone response; log-interpolated

Wave = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Channel:
    """One session's recording conditions."""

    rt60: float  # seconds
    direct_db: float  # direct-to-reverberant ratio
    microphone_db: tuple[float, ...]  # response at _EQ_HZ
    low_cut_hz: float
    snr_db: float
    noise_slope: float  # spectral density falls as 1 / f^slope: 0 white, 1 pink, 2 brown
    hum_hz: float  # mains hum in the noise, 0 for none
    level_db: float  # RMS, full scale = 0
    telephone: str  # "", "GSM610" or "ULAW": names of soundfile's subtypes
    seed: int  # of the room's impulse response


def draw_channel(rng: np.random.Generator, telephone_share: float = 0.3) -> Channel:
    """The conditions of one session; about `telephone_share` of them go through a telephone."""
    slope = rng.normal(0, 4)  # overall spectral tilt in dB
    steps = np.cumsum(rng.normal(0, 2.5, size=len(_EQ_HZ)))
    response = steps - steps.mean() + slope * np.linspace(-0.5, 0.5, len(_EQ_HZ))
    return Channel(
        rt60=float(rng.uniform(0.15, 0.6)),
        direct_db=float(rng.uniform(0, 12)),
        microphone_db=tuple(float(v) for v in np.clip(response, -12, 12)),
        low_cut_hz=float(rng.uniform(30, 200)),
        snr_db=float(rng.uniform(8, 25)),
        noise_slope=float(rng.uniform(0, 2)),
        hum_hz=float(rng.choice([0, 0, 50, 60])),
        level_db=float(rng.uniform(-32, -20)),
        telephone=str(rng.choice(["GSM610", "ULAW"])) if rng.random() < telephone_share else "",
        seed=int(rng.integers(2**31)),
    )


def record(speech: Wave, channel: Channel, rng: np.random.Generator) -> Wave:
    """`speech` recorded under the conditions of `channel`; `rng` draws the noise."""
    response = impulse_response(channel)
    reverberant = _filter(speech, np.fft.rfft(response, _fft_size(len(speech) + len(response))))
    heard = reverberant + _noise(len(speech), channel, _rms(reverberant), rng)
    heard = _filter(heard, _microphone(_hertz(_fft_size(len(heard))), channel))
    heard *= 10 ** (channel.level_db / 20) / _rms(heard)
    heard = np.clip(heard, -0.99, 0.99)
    return through_telephone(heard, channel.telephone) if channel.telephone else heard


def impulse_response(channel: Channel) -> Wave:
    """Direct sound, then low-passed noise that decays exponentially: -60 dB after `rt60` seconds."""
    rng = np.random.default_rng(channel.seed)
    time = np.arange(int(channel.rt60 * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / channel.rt60)
    tail[: int(rng.uniform(0.002, 0.008) * RATE)] = 0  # delay of the first reflection
    tail = _filter(tail, 1 / np.sqrt(1 + (_hertz(_fft_size(len(tail))) / rng.uniform(2000, 6000)) ** 2))
    tail *= 10 ** (-channel.direct_db / 20) / np.linalg.norm(tail)
    tail[0] += 1
    return tail


def through_telephone(speech: Wave, codec: str) -> Wave:
    """300 to 3400 Hz at 8 kHz through a codec of soundfile (`GSM610`, `ULAW`), and back to 16 kHz."""
    hertz = np.maximum(_hertz(_fft_size(len(speech))), 1)
    band = 1 / np.sqrt(1 + (300 / hertz) ** 8) / np.sqrt(1 + (hertz / 3400) ** 16)
    narrow = resample(_filter(speech, band).astype(np.float32), RATE, RATE // 2)
    wire = io.BytesIO()
    soundfile.write(wire, narrow, RATE // 2, format="WAV", subtype=codec)
    wire.seek(0)
    heard, _ = soundfile.read(wire, dtype="float32")  # GSM pads its last frame, so there are a few samples more
    return resample(heard, RATE // 2, RATE)[: len(speech)].astype(np.float64)


def _noise(length: int, channel: Channel, speech_rms: float, rng: np.random.Generator) -> Wave:
    hertz = np.maximum(_hertz(_fft_size(length)), 20)
    noise = _filter(rng.standard_normal(length), hertz ** (-channel.noise_slope / 2))
    noise /= _rms(noise)
    if channel.hum_hz:
        phase = 2 * np.pi * channel.hum_hz * np.arange(length) / RATE
        for harmonic in (1, 2, 3, 5, 7):
            noise += np.sin(harmonic * phase + rng.uniform(0, 2 * np.pi)) / harmonic
    return noise * (speech_rms * 10 ** (-channel.snr_db / 20) / _rms(noise))


def _microphone(hertz: Wave, channel: Channel) -> Wave:
    above_dc = np.maximum(hertz, 1)
    gain_db = np.interp(np.log(above_dc), np.log(_EQ_HZ), channel.microphone_db)
    return np.asarray(10 ** (gain_db / 20) / np.sqrt(1 + (channel.low_cut_hz / above_dc) ** 4))


def _filter(wave: Wave, response: npt.NDArray[Any]) -> Wave:
    """`wave` times a frequency response sampled at `_hertz` of an FFT size, cut to its own length."""
    size = 2 * (len(response) - 1)
    return np.fft.irfft(np.fft.rfft(wave, size) * response, size)[: len(wave)]


def _fft_size(length: int) -> int:
    """The smallest power of two that holds `length` samples and 0.1 s of filter ringing."""
    return 1 << (length + RATE // 10 - 1).bit_length()


def _hertz(fft_size: int) -> Wave:
    return np.fft.rfftfreq(fft_size, 1 / RATE).astype(np.float64)


def _rms(wave: Wave) -> float:
    return float(np.sqrt(np.mean(wave**2)) + 1e-12)
