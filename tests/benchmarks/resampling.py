"""Resampling: levels of tones, time, and equality of block-wise with whole, of soxr and scipy's polyphase filter.

python tests/benchmarks/resampling.py
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import soxr
from scipy.signal import resample_poly

from spkver.audio import resample

NEW = 16000
SECONDS = 60


def polyphase(waveform: np.ndarray, old: int, new: int) -> np.ndarray:
    divisor = math.gcd(old, new)
    return resample_poly(waveform, new // divisor, old // divisor).astype(np.float32)


def level_db(function: Callable[[np.ndarray, int, int], np.ndarray], hz: float, old: int) -> float:
    """The level of a tone after resampling, relative to before."""
    tone = np.sin(2 * np.pi * hz * np.arange(2 * old) / old).astype(np.float32)
    inner = function(tone, old, NEW)[NEW // 2 : -NEW // 2].astype(np.float64)
    return 10 * math.log10(2 * float(np.mean(inner**2)))


def milliseconds(function: Callable[[np.ndarray, int, int], np.ndarray], waveform: np.ndarray, old: int) -> float:
    times = []
    for _ in range(5):
        start = time.thread_time()
        function(waveform, old, NEW)
        times.append(time.thread_time() - start)
    return 1e3 * min(times)


def main() -> None:
    for name, function in (("soxr", resample), ("polyphase", polyphase)):
        levels = ", ".join(f"{hz} Hz {level_db(function, hz, 48000):.1f}" for hz in (1000, 7000, 7300, 8200, 9000))
        print(f"{name}, 48 to 16 kHz, levels in dB: {levels}")
    for old in (8000, 22050, 44100, 48000):
        waveform = np.random.default_rng(0).normal(0, 0.1, SECONDS * old).astype(np.float32)
        own, other = milliseconds(resample, waveform, old), milliseconds(polyphase, waveform, old)
        stream = soxr.ResampleStream(old, NEW, 1)
        blocks = [waveform[start : start + 4096] for start in range(0, len(waveform), 4096)]
        parts = [stream.resample_chunk(block, last=block is blocks[-1]) for block in blocks]
        same = np.array_equal(np.concatenate(parts), resample(waveform, old, NEW))
        print(
            f"{old} to {NEW} Hz, {SECONDS} s: soxr {own:.1f} ms, polyphase {other:.1f} ms, ratio {other / own:.1f}; "
            f"in blocks of 4096 samples {'the same' if same else 'not the same'}"
        )


if __name__ == "__main__":
    main()
