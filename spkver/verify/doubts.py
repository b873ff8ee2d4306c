"""What makes a verdict on a recording doubtful: silence, too little speech, noise, clipping, rate, a missing band."""

from __future__ import annotations

import numpy as np

from spkver import quality

SPEECH_SECONDS = 2.0  # below, error rates climb steeply: see the README of this room
# of clean read speech the estimate lies above 19 dB; with noise 10 dB below the speech all over, at 13 to 18 dB
SNR_DB = 15.0
CLIPPED_SHARE = 0.002  # a low tone has as many samples at its top
BAND_SHARE = 0.62  # of half the rate; see quality.bandwidth
SILENT_SHARE = 0.3  # a noise gate leaves out most pauses: a third of read speech
MOST_SECONDS = 300.0  # listened to for doubts, so that memory is bounded


def doubts(waveform: np.ndarray, rate: int, model_rate: int) -> list[str]:
    """What is doubtful about a recording, by its first five minutes, for a model of `model_rate` Hz, one line each.

    waveform: float32 (time,) in [-1, 1] as it was recorded, at `rate` Hz
    """
    found = []
    whole = waveform[: round(MOST_SECONDS * rate)]
    waveform = quality.without_silence(whole, rate)
    if (silent := 1 - len(waveform) / len(whole)) > SILENT_SHARE:
        found.append(f"{100 * silent:.0f} % digital silence, as editors and noise gates make it; it does not count")
    if (seconds := quality.speech_seconds(waveform, rate)) < SPEECH_SECONDS:
        found.append(f"short: {seconds:.1f} s of speech; {SPEECH_SECONDS:g} s or more tell voices apart much better")
    samples = waveform.astype(np.float64)
    if (snr := quality.snr(samples, rate)) < SNR_DB:
        found.append(f"noisy: speech some {snr:.0f} dB above the noise, or no pauses to tell the noise by")
    if (share := quality.clipped_share(waveform)) > CLIPPED_SHARE:
        found.append(f"clipped: {100 * share:.1f} % of the samples; record at a lower level")
    if rate < model_rate:
        found.append(
            f"recorded at {rate} Hz: above {rate // 2} Hz there is nothing, which a model of {model_rate} Hz takes "
            "for part of the voice"
        )
    elif rate > model_rate and model_rate < 16000:
        found.append(f"recorded at {rate} Hz: a model of {model_rate} Hz has heard telephones, not microphones")
    elif 0 < (band := quality.bandwidth(samples, rate)) < BAND_SHARE * model_rate / 2:
        found.append(
            f"nothing above {band / 1000:.1f} kHz, as from a telephone or strong compression, which a model of "
            f"{model_rate} Hz takes for part of the voice"
        )
    return found
