"""Warnings about a recording: digital silence, little speech, noise, clipping, sample rate, a missing band."""

from __future__ import annotations

import numpy as np

from spkver import quality

SPEECH_SECONDS = 2.0  # below this, error rates rise steeply: see the README of this package
# below it: 4 % of the recordings of four corpora, 96 % with pink noise at 10 dB (tests/benchmarks/doubts.py)
SNR_DB = 22.0
CLIPPED_SHARE = 0.002  # a low-frequency tone has this share of samples at its maximum
BAND_SHARE = 0.62  # of half the sample rate; see quality.bandwidth
SILENT_SHARE = 0.3  # a noise gate removes most pauses: a third of read speech
MOST_SECONDS = 300.0  # length examined, which limits memory


def speech_seconds(waveform: np.ndarray, rate: int) -> float:
    """Seconds of speech in the first five minutes of a waveform (time,) in [-1, 1]."""
    return quality.speech_seconds(waveform[: round(MOST_SECONDS * rate)], rate)


def doubts(waveform: np.ndarray, rate: int, model_rate: int, seconds: float | None = None) -> list[str]:
    """Warnings, one line each, about the first five minutes of a recording for a model of `model_rate` Hz.

    waveform: float32 (time,) in [-1, 1], as recorded at `rate` Hz
    seconds: its `speech_seconds`, if they are known already
    """
    found = []
    whole = waveform[: round(MOST_SECONDS * rate)]
    waveform = quality.without_silence(whole, rate)
    if (silent := 1 - len(waveform) / len(whole)) > SILENT_SHARE:
        found.append(f"{100 * silent:.0f} % digital silence, as editors and noise gates produce it; it is ignored")
    seconds = speech_seconds(whole, rate) if seconds is None else seconds
    if seconds < SPEECH_SECONDS:
        found.append(f"short: {seconds:.1f} s of speech; with {SPEECH_SECONDS:g} s or more, error rates are much lower")
    samples = waveform.astype(np.float64)
    if (snr := quality.snr(samples, rate)) < SNR_DB:
        found.append(f"noisy: estimated SNR {snr:.0f} dB, or no pauses to estimate the noise from")
    if (share := quality.clipped_share(waveform)) > CLIPPED_SHARE:
        found.append(f"clipped: {100 * share:.1f} % of the samples; record at a lower level")
    if rate < model_rate:
        found.append(
            f"recorded at {rate} Hz: nothing above {rate // 2} Hz, which a model of {model_rate} Hz treats as part "
            "of the voice"
        )
    elif rate > model_rate and model_rate < 16000:
        found.append(f"recorded at {rate} Hz: a model of {model_rate} Hz was not trained on wide-band speech")
    elif 0 < (band := quality.bandwidth(samples, rate)) < BAND_SHARE * model_rate / 2:
        found.append(
            f"nothing above {band / 1000:.1f} kHz (telephone or strong compression?), which a model of "
            f"{model_rate} Hz treats as part of the voice"
        )
    return found
