"""Extract embeddings of windows of recordings of any length, for example to find who speaks when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spkver.embeddings import Embeddings, write_parts
from spkver.encoder import BATCH_SECONDS, Encoder
from spkver.errors import InputError
from spkver.extraction import Corpus, Rows, embed_parts
from spkver.files import StrPath
from spkver.processes import ahead, one_thread
from spkver.work import Engine, Local, Share, Written

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
    jobs: int = 2,
    on: Engine | None = None,
    share: Share | None = None,
) -> ExtractedWindows | None:
    """Embed windows of every recording of a data directory or audio pack into the Parquet file `out`.

    window, hop: seconds; windows start every `hop`, and a last one ends with the recording. A shorter recording is one
        window. Every window is normalised by its own mean. Memory does not grow with the length of a recording.
    max_rejected: maximum share of rejected recordings; these are listed in `out`.rejected.jsonl with the reason.
        Windows before a damaged place of a recording are kept.
    jobs, on, share: as for `extract`
    Raises InputError for windows shorter than the model needs, and for feature packs; RunError if more than
    `max_rejected` are rejected.
    """
    length, step = window_samples(encoder, window, hop)
    corpus = Corpus(encoder, source, allow_pipes)
    corpus.source.audio()
    maker = _Windows(corpus, length, step)
    mark = corpus.mark("windows", length, step)
    done = embed_parts(out, maker, mark, max_rejected, on or Local(1, jobs), share)
    return None if done is None else ExtractedWindows(done.embeddings, done.unusable, done.rejected)


@dataclass
class _Found:
    """The windows of a recording. reason: why it is rejected, if it is."""

    parts: list[Embeddings] = field(default_factory=list)
    unusable: int = 0
    reason: str = ""


@dataclass(frozen=True)
class _Windows:
    """Makes the embeddings of windows; see `work.Maker`."""

    corpus: Corpus
    length: int
    step: int

    def name(self, number: int) -> str:
        return f"part-{number:05d}.parquet"

    def stamp(self, part: Rows) -> str:
        return self.corpus.source.stamp(range(*part))

    def write(self, part: Rows, path: Path, cores: int) -> Written:
        rows = range(*part)
        rejected: list[dict[str, str]] = []
        unusable = 0

        def parts() -> Iterator[Embeddings]:
            nonlocal unusable
            for row, found in ahead(self._recording, rows, cores):
                yield from found.parts
                unusable += found.unusable
                if found.reason:
                    rejected.append({"id": self.corpus.source.ids[row], "reason": found.reason})
            yield self.corpus.embeddings([], [], np.empty((0, 2)))  # at least one part

        with one_thread():
            embeddings = write_parts(path, parts())
        return Written(len(rows), {"embeddings": embeddings, "unusable": unusable}, rejected)

    def repaired(self, part: Rows, rejected: Sequence[Mapping[str, str]]) -> bool:
        reasons = {one["id"]: one["reason"] for one in rejected}
        rows = {row: self.corpus.source.ids[row] for row in range(*part)}
        return any(self._recording(row).reason != reasons[name] for row, name in rows.items() if name in reasons)

    def _recording(self, row: int) -> _Found:
        found = _Found()
        try:
            for part in self._windows(row, found):
                found.parts.append(part)
        except InputError as error:
            found.reason = str(error)
        else:
            found.reason = "" if found.parts else "no usable window"
        return found

    def _windows(self, row: int, found: _Found) -> Iterator[Embeddings]:
        samples, read = self.corpus.source.open(row)
        length, encoder = min(self.length, samples), self.corpus.encoder
        most = max(self.length, int(CHUNK_SECONDS * encoder.sample_rate))
        for chunk in _chunks(window_starts(samples, length, self.step), most):
            waveform = read(chunk[0], chunk[-1] + length)
            usable = [s for s in chunk if not encoder.unusable(waveform[s - chunk[0] : s - chunk[0] + length])]
            found.unusable += len(chunk) - len(usable)
            for first in range(0, len(usable), _PART):
                yield self._embed(row, waveform, chunk[0], np.array(usable[first : first + _PART]), length)

    def _embed(self, row: int, waveform: np.ndarray, offset: int, starts: np.ndarray, length: int) -> Embeddings:
        encoder = self.corpus.encoder
        batch = max(1, int(BATCH_SECONDS * encoder.sample_rate) // length)
        views = np.lib.stride_tricks.sliding_window_view(waveform, length)
        vectors = [
            encoder.embed_batch(views[starts[first : first + batch] - offset]) for first in range(0, len(starts), batch)
        ]
        times = np.stack([starts, starts + length], axis=1) / encoder.sample_rate
        return self.corpus.embeddings([row] * len(starts), np.concatenate(vectors), times)


def window_samples(encoder: Encoder, window: float, hop: float) -> tuple[int, int]:
    """Windows of `window` seconds every `hop` seconds in samples. Raises InputError if the model cannot embed them."""
    length, step = (round(seconds * encoder.sample_rate) for seconds in (window, hop))
    if length < encoder.min_samples or step < 1:
        raise InputError(
            f"windows of {window:g} s every {hop:g} s: the model needs {encoder.min_samples / encoder.sample_rate:g} s "
            "or more, and the hop must be at least one sample"
        )
    return length, step


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
