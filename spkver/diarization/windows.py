"""Embeddings of windows of speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spkver.diarization.speech import Regions
from spkver.embeddings import unit
from spkver.encoder import BATCH_SECONDS, Encoder, equal_lengths
from spkver.source import Read
from spkver.windows import CHUNK_SECONDS, window_samples, window_starts

SHORTEST_SECONDS = 0.5  # shorter regions are extended to this, because embeddings of less are unreliable


@dataclass(frozen=True)
class Windows:
    """Windows of one recording, in order of time.

    times: start and end in seconds, float64 (windows, 2); regions: the region of speech of each, int64 (windows,)
    vectors: embeddings of length 1, float32 (windows, dim); lengths: before that, (windows,)
    model: the hash of their model; front_end: the config of its front end
    """

    times: np.ndarray
    regions: np.ndarray
    vectors: np.ndarray
    lengths: np.ndarray
    model: str = ""
    front_end: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.times)

    def taken(self, rows: np.ndarray) -> Windows:
        """Some of the windows; rows: bool (windows,)."""
        arrays = {name: getattr(self, name)[rows] for name in ("times", "regions", "vectors", "lengths")}
        return replace(self, **arrays)

    def covered(self, regions: Regions, rate: int) -> np.ndarray:
        """The share of each window in the regions, which do not overlap: float64 (windows,)."""
        edges = np.array(regions, np.float64).reshape(-1, 2) / rate
        before = np.r_[0.0, np.cumsum(edges[:, 1] - edges[:, 0])]
        # seconds of the regions before a time are linear between their edges
        seconds = np.interp(self.times, np.r_[0.0, edges.ravel()], np.r_[0.0, np.repeat(before, 2)[1:-1]])
        return (seconds[:, 1] - seconds[:, 0]) / (self.times[:, 1] - self.times[:, 0])


def embed_windows(
    encoder: Encoder,
    regions: Regions,
    samples: int,
    read: Read,
    window: float,
    shift: float,
    tick: Callable[[int], object] = lambda samples: None,
) -> Windows:
    """Embed windows of `window` seconds every `shift` seconds of each region, and one up to its end.

    samples, read: the recording, as `Source.open` gives it; tick: called with the number of samples done
    A shorter region is one window. Windows without a signal are left out. The recording is read in parts.
    Raises InputError for windows that the model cannot embed.
    """
    rate = encoder.sample_rate
    length, step = window_samples(encoder, window, shift)
    least = min(max(round(SHORTEST_SECONDS * rate), encoder.min_samples), samples)
    places: list[tuple[int, int]] = []
    owners: list[int] = []
    for owner, region in enumerate(regions):
        first, last = _at_least(*region, least, samples)
        size = min(length, last - first)
        places += [(first + start, first + start + size) for start in window_starts(last - first, size, step).tolist()]
        owners += [owner] * (len(places) - len(owners))
    found: list[np.ndarray] = []
    kept: list[int] = []
    done = 0
    for rows in _chunks(places, int(CHUNK_SECONDS * rate)):
        start = places[rows[0]][0]
        waveform = read(start, max(places[row][1] for row in rows))
        parts = {row: waveform[places[row][0] - start : places[row][1] - start] for row in rows}
        usable = [row for row in rows if not encoder.unusable(parts[row])]
        lengths = np.array([len(parts[row]) for row in usable], np.int64)
        vectors = np.empty((len(usable), encoder.dim), np.float32)
        for batch in equal_lengths(lengths, BATCH_SECONDS * rate):
            vectors[batch] = encoder.embed_batch(np.stack([parts[usable[one]] for one in batch]))
        found.append(vectors)
        kept += usable
        tick(places[rows[-1]][1] - done)
        done = places[rows[-1]][1]
    tick(samples - done)
    vectors = np.concatenate([np.empty((0, encoder.dim), np.float32), *found])
    times = np.array([places[row] for row in kept], np.float64).reshape(-1, 2) / rate
    names = [f"window at {time:.2f} s" for time in times[:, 0]]
    own = np.array([owners[row] for row in kept], np.int64)
    front_end = encoder.config.front_end.model_dump(mode="json")
    lengths = np.linalg.norm(vectors, axis=1)
    return Windows(times, own, unit(vectors, names, "embedding"), lengths, encoder.model_id, front_end)


def _at_least(first: int, last: int, least: int, samples: int) -> tuple[int, int]:
    """The region, extended to both sides to at least `least` samples within the recording."""
    if last - first >= least:
        return first, last
    start = min(max((first + last - least) // 2, 0), samples - least)
    return start, start + least


def _chunks(places: list[tuple[int, int]], most: int) -> Iterator[list[int]]:
    """Rows of consecutive windows that start within `most` samples."""
    rows: list[int] = []
    for row, (first, _) in enumerate(places):
        if rows and first - places[rows[0]][0] > most:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows
