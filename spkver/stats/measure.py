"""What every recording is like, from its samples."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from spkver import audio
from spkver.errors import InputError
from spkver.progress import bar
from spkver.stats.source import Source

FRAME_SECONDS = 0.025
FLOOR_DB, CEILING_DB = -100.0, 100.0
QUIET, LOUD = 10, 95  # percentiles of the energy of frames that stand for the noise, and for speech with noise


@dataclass(frozen=True)
class Measures:
    """One value per utterance that could be read (row: its place in the source), and why the others could not.

    seconds; level and peak: dB below full scale; snr: dB, an estimate; clipped: share of samples; offset: mean, share
    of full scale; rate: Hz; digest: equal for equal samples.
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
    """Measure every utterance, in `jobs` threads (decoding and numpy leave the interpreter free)."""
    total = len(source.ids)
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
    """The measures of one recording, in the order of `Measures`."""
    samples = waveform.astype(np.float64)
    offset = float(samples.mean())
    level = _db(float(np.square(samples - offset).mean()))
    peak = float(np.abs(samples).max())
    digest = hashlib.blake2b(audio.to_int16(waveform).tobytes(), digest_size=16, salt=str(rate).encode()).hexdigest()
    seconds = len(samples) / rate
    return seconds, level, _db(peak**2), snr(samples, rate), clipped_share(samples), offset, rate, digest


def snr(samples: np.ndarray, rate: int) -> float:
    """An estimate in dB: the energy of loud frames less that of quiet frames, over that of quiet frames.

    It takes for granted that a tenth of the recording is pause. Frames of digital silence do not count.
    """
    length = max(1, round(FRAME_SECONDS * rate))
    if len(samples) < 2 * length:
        return 0.0
    energy = samples[: len(samples) // length * length].reshape(-1, length).var(axis=1)
    energy = energy[energy > 0]
    if not len(energy):
        return 0.0
    noise, both = np.percentile(energy, (QUIET, LOUD))
    return float(np.clip(_db((both - noise) / noise), -20.0, CEILING_DB)) if noise > 0 else CEILING_DB


def clipped_share(samples: np.ndarray) -> float:
    """The share of samples in flat tops: three or more in a row at the recording's peak, if that is not low anyway."""
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


def _db(power: float) -> float:
    return float(10 * np.log10(max(power, 10 ** (FLOOR_DB / 10))))
