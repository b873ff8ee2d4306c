"""Quality of a recording, estimated from its samples: SNR, clipping, bandwidth and amount of speech."""

from __future__ import annotations

import numpy as np

from spkver import audio

FRAME_SECONDS = 0.025
FLOOR_DB, CEILING_DB = -100.0, 100.0
QUIET, LOUD = 10, 95  # percentiles of frame energy taken as the noise, and as speech with noise
_PIECE_SECONDS = 0.01
_SPECTRUM_SECONDS = 0.032
_SMOOTH_HZ = 200.0
_BLOCK = 1 << 12  # frames at a time


def snr(samples: np.ndarray, rate: int) -> float:
    """Estimated signal-to-noise ratio in dB: (energy of loud frames - energy of quiet frames) / energy of quiet frames.

    Assumes that a tenth of the recording is pause. Frames of digital silence are ignored.
    """
    length = max(1, round(FRAME_SECONDS * rate))
    if len(samples) < 2 * length:
        return 0.0
    energy = samples[: len(samples) // length * length].reshape(-1, length).var(axis=1)
    energy = energy[energy > 0]
    if not len(energy):
        return 0.0
    noise, both = np.percentile(energy, (QUIET, LOUD))
    return float(np.clip(decibels((both - noise) / noise), -20.0, CEILING_DB)) if noise > 0 else CEILING_DB


def clipped_share(samples: np.ndarray) -> float:
    """The share of samples in runs of three or more at the peak; 0 if the peak is below 0.1."""
    peak = float(np.abs(samples).max())
    if peak < 0.1 or len(samples) < 3:
        return 0.0
    flat = np.zeros(len(samples), bool)
    for side in (samples, -samples):
        at_top = side >= peak - 0.5 / audio.INT16_SCALE
        run = at_top[:-2] & at_top[1:-1] & at_top[2:]
        flat[:-2] |= run
        flat[1:-1] |= run
        flat[2:] |= run
    return float(flat.mean())


def bandwidth(samples: np.ndarray, rate: int, drop: float = 50.0) -> float:
    """The frequency in Hz above which the mean spectrum stays `drop` dB below its peak; at most half the rate.

    At 50 dB, wide-band speech reaches beyond 5.7 kHz; speech once sampled at 8 kHz ends at 4 to 4.7 kHz.
    samples: (time,). Returns 0 for less than a frame, and for silence.
    """
    length = round(_SPECTRUM_SECONDS * rate)
    if len(samples) < length:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[:: length // 2]
    window = np.hanning(length)
    power = np.zeros(length // 2 + 1)
    for start in range(0, len(frames), _BLOCK):
        block = frames[start : start + _BLOCK]
        spectrum = np.fft.rfft((block - block.mean(axis=1, keepdims=True)) * window, axis=1)
        power += np.square(np.abs(spectrum)).sum(axis=0)
    wide = max(1, round(_SMOOTH_HZ * length / rate))
    power = np.convolve(power, np.ones(wide) / wide, "same")
    loud = np.flatnonzero(power > power.max() * 10 ** (-drop / 10))
    return min((int(loud[-1]) + 1) * rate / length, rate / 2) if len(loud) else 0.0


def without_silence(waveform: np.ndarray, rate: int) -> np.ndarray:
    """A waveform (time,) in [-1, 1] without pieces of 10 ms of digital silence; see features.silence.

    A waveform of silence only is returned unchanged.
    """
    import torch

    from spkver.features.silence import silent_frames

    length = max(1, round(_PIECE_SECONDS * rate))
    whole = len(waveform) // length * length
    if not whole:
        return waveform
    pieces = waveform[:whole].reshape(-1, length)
    silent = silent_frames(torch.from_numpy(pieces)[None])[0].numpy()
    return waveform if silent.all() else np.concatenate([pieces[~silent].ravel(), waveform[whole:]])


def speech_seconds(waveform: np.ndarray, rate: int) -> float:
    """Seconds of speech in a waveform (time,) in [-1, 1], by the energy detector of features.vad."""
    from spkver.features.vad import energy_vad  # imports torch, which the other functions do not need

    if len(waveform) < rate * FRAME_SECONDS:
        return 0.0
    return float(energy_vad(waveform, rate).sum()) * _PIECE_SECONDS


def decibels(power: float) -> float:
    """A power relative to full scale in dB, at least -100."""
    return float(10 * np.log10(max(power, 10 ** (FLOOR_DB / 10))))
