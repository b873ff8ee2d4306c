"""Signal measures of every recording."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from spkver import audio
from spkver.errors import InputError
from spkver.progress import bar
from spkver.quality import clipped_share, decibels, snr
from spkver.source import Source


@dataclass(frozen=True)
class Measures:
    """Measures of the utterances that could be read.

    rows: row in the source of each measured utterance
    seconds: duration; level, peak: dB relative to full scale; snr: estimate in dB; clipped: share of samples
    offset: mean, relative to full scale; rate: Hz; digest: hash, equal for equal samples
    failed: for the other rows, the reason
    """

    rows: np.ndarray
    seconds: np.ndarray
    level: np.ndarray
    peak: np.ndarray
    snr: np.ndarray
    clipped: np.ndarray
    offset: np.ndarray
    rate: np.ndarray
    digest: np.ndarray
    failed: dict[int, str]


_NAMES = ("seconds", "level", "peak", "snr", "clipped", "offset", "rate", "digest")


def measure(source: Source, *, jobs: int = 1) -> Measures:
    """Measure every utterance in `jobs` threads (decoding and numpy release the GIL)."""
    total = len(source)
    found: dict[int, tuple] = {}
    failed: dict[int, str] = {}

    def one(row: int) -> tuple | str:
        try:
            return of_waveform(*source.read(row))
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(jobs) as pool, bar(total=total, what="measure", unit="utt") as progress:
        for first in range(0, total, 256):
            rows = range(first, min(total, first + 256))
            for row, result in zip(rows, pool.map(one, rows)):
                if isinstance(result, str):
                    failed[row] = result
                else:
                    found[row] = result
                progress.update()
    columns = dict(zip(_NAMES, map(np.array, zip(*found.values()) if found else [[]] * len(_NAMES))))
    return Measures(rows=np.array(list(found), dtype=np.int64), failed=failed, **columns)


def of_waveform(waveform: np.ndarray, rate: int) -> tuple[float, float, float, float, float, float, int, str]:
    """The measures of a waveform (time,) at this rate (Hz), in the order of `Measures`."""
    samples = waveform.astype(np.float64)
    offset = float(samples.mean())
    level = decibels(float(np.square(samples - offset).mean()))
    peak = float(np.abs(samples).max())
    digest = hashlib.blake2b(audio.to_int16(waveform).tobytes(), digest_size=16, salt=str(rate).encode()).hexdigest()
    seconds = len(samples) / rate
    return seconds, level, decibels(peak**2), snr(samples, rate), clipped_share(samples), offset, rate, digest
