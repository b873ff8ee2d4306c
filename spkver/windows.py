"""Extract embeddings of windows of recordings of any length, for example to find who speaks when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spkver import progress
from spkver.embeddings import Embeddings, write_parts
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.extraction import BATCH_SECONDS, settle
from spkver.files import StrPath, file_place
from spkver.source import Source, open_source

CHUNK_SECONDS = 300.0  # decoded at once
_PART = 1 << 13  # windows per write


@dataclass(frozen=True)
class ExtractedWindows:
    """Number of embedded windows, of unusable (e.g. silent) windows, and (id, reason) of rejected recordings."""

    windows: int
    unusable: int
    rejected: list[tuple[str, str]]


def extract_windows(
    encoder: Encoder,
    source: StrPath,
    out: StrPath,
    *,
    window: float,
    hop: float,
    max_rejected: float = 0.1,
    allow_pipes: bool = False,
) -> ExtractedWindows:
    """Embed windows of every recording of a data directory or audio pack into the Parquet file `out`.

    window, hop: seconds; windows start every `hop`, and a last one ends with the recording. A shorter recording is one
        window. Every window is normalised by its own mean. Memory does not grow with the length of a recording.
    max_rejected: maximum share of rejected recordings; these are listed in `out`.rejected.jsonl with the reason.
        Windows before a damaged place of a recording are kept.
    Raises InputError for windows shorter than the model needs, and for feature packs; RunError if more than
    `max_rejected` are rejected.
    """
    file_place(out, plain=True)  # fail early
    length, step = (round(seconds * encoder.sample_rate) for seconds in (window, hop))
    if length < encoder.min_samples or step < 1:
        raise InputError(
            f"windows of {window:g} s every {hop:g} s: the model needs {encoder.min_samples / encoder.sample_rate:g} s "
            "or more, and the hop must be positive"
        )
    recordings = open_source(source, front_end=encoder.config.front_end, allow_pipes=allow_pipes).audio()
    work = _Work(encoder, recordings, length, step)

    def parts() -> Iterator[Embeddings]:
        yield from work.parts()
        settle(source, out, work.rejected, len(recordings), max_rejected)  # before the file is completed

    return ExtractedWindows(write_parts(out, parts()), work.unusable, work.rejected)


class _Work:
    """Embeds the windows of recordings and counts unusable windows and rejected recordings."""

    def __init__(self, encoder: Encoder, recordings: Source, length: int, step: int) -> None:
        self._encoder, self._recordings, self._length, self._step = encoder, recordings, length, step
        self._chunk = max(length, int(CHUNK_SECONDS * encoder.sample_rate))
        self.unusable = 0
        self.rejected: list[tuple[str, str]] = []

    def parts(self) -> Iterator[Embeddings]:
        """The windows of all recordings, in parts."""
        with progress.bar(total=len(self._recordings), what="extract", unit="utt") as bar:
            for row, name in enumerate(self._recordings.ids):
                found = 0
                try:
                    for part in self._windows(row):
                        found += len(part)
                        yield part
                    reason = "" if found else "no usable window"
                except InputError as error:
                    reason = str(error)
                if reason:
                    self.rejected.append((name, reason))
                bar.update()

    def _windows(self, row: int) -> Iterator[Embeddings]:
        samples, read = self._recordings.open(row)
        length = min(self._length, samples)
        for chunk in _chunks(window_starts(samples, length, self._step), self._chunk):
            waveform = read(chunk[0], chunk[-1] + length)
            usable = [s for s in chunk if not self._encoder.unusable(waveform[s - chunk[0] : s - chunk[0] + length])]
            self.unusable += len(chunk) - len(usable)
            for first in range(0, len(usable), _PART):
                yield self._embed(row, waveform, chunk[0], np.array(usable[first : first + _PART]), length)

    def _embed(self, row: int, waveform: np.ndarray, offset: int, starts: np.ndarray, length: int) -> Embeddings:
        batch = max(1, int(BATCH_SECONDS * self._encoder.sample_rate) // length)
        views = np.lib.stride_tricks.sliding_window_view(waveform, length)
        vectors = [
            self._encoder.embed_batch(views[starts[first : first + batch] - offset])
            for first in range(0, len(starts), batch)
        ]
        return Embeddings(
            ids=[self._recordings.ids[row]] * len(starts),
            vectors=np.concatenate(vectors),
            speakers=[self._recordings.speakers[row]] * len(starts),
            model=self._encoder.model_id,
            front_end=self._encoder.config.front_end.model_dump(mode="json"),
            times=np.stack([starts, starts + length], axis=1) / self._encoder.sample_rate,
        )


def window_starts(samples: int, length: int, step: int) -> np.ndarray:
    """The first samples of the windows of a recording, int64: every `step`, and a last window up to the end."""
    last = max(samples - length, 0)
    starts = np.arange(0, last + 1, step)
    return starts if starts[-1] == last else np.append(starts, last)


def _chunks(starts: np.ndarray, most: int) -> Iterator[list[int]]:
    """Groups of consecutive starts that span less than `most` samples."""
    first = 0
    while first < len(starts):
        last = int(np.searchsorted(starts, starts[first] + most))
        yield starts[first:last].tolist()
        first = last
