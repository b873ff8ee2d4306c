"""Extract embeddings of windows of recordings of any length, for example to find who speaks when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spkver import audio, progress
from spkver.datadir import read_datadir
from spkver.embeddings import Embeddings, write_parts
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.extraction import BATCH_SECONDS, settle
from spkver.files import StrPath, file_place
from spkver.packs.reader import Pack

CHUNK_SECONDS = 300.0  # decoded at once
_PART = 1 << 13  # windows per write

Read = Callable[[int, int], np.ndarray]  # samples [first, last) at the rate of the model


@dataclass(frozen=True)
class Recording:
    """A recording to cut windows from. `open` returns its number of samples at the model rate and a read function."""

    id: str
    speaker: str
    open: Callable[[], tuple[int, Read]]


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
    recordings = list(_recordings(encoder, Path(source), allow_pipes))
    work = _Work(encoder, length, step)

    def parts() -> Iterator[Embeddings]:
        yield from work.parts(recordings)
        settle(source, out, work.rejected, len(recordings), max_rejected)  # before the file is completed

    return ExtractedWindows(write_parts(out, parts()), work.unusable, work.rejected)


class _Work:
    """Embeds the windows of recordings and counts unusable windows and rejected recordings."""

    def __init__(self, encoder: Encoder, length: int, step: int) -> None:
        self._encoder, self._length, self._step = encoder, length, step
        self._chunk = max(length, int(CHUNK_SECONDS * encoder.sample_rate))
        self.unusable = 0
        self.rejected: list[tuple[str, str]] = []

    def parts(self, recordings: list[Recording]) -> Iterator[Embeddings]:
        """The windows of all recordings, in parts."""
        with progress.bar(total=len(recordings), what="extract", unit="utt") as bar:
            for recording in recordings:
                found = 0
                try:
                    for part in self._windows(recording):
                        found += len(part)
                        yield part
                    reason = "" if found else "no usable window"
                except InputError as error:
                    reason = str(error)
                if reason:
                    self.rejected.append((recording.id, reason))
                bar.update()

    def _windows(self, recording: Recording) -> Iterator[Embeddings]:
        samples, read = recording.open()
        length = min(self._length, samples)
        for chunk in _chunks(window_starts(samples, length, self._step), self._chunk):
            waveform = read(chunk[0], chunk[-1] + length)
            usable = [s for s in chunk if not self._encoder.unusable(waveform[s - chunk[0] : s - chunk[0] + length])]
            self.unusable += len(chunk) - len(usable)
            for first in range(0, len(usable), _PART):
                yield self._embed(recording, waveform, chunk[0], np.array(usable[first : first + _PART]), length)

    def _embed(
        self, recording: Recording, waveform: np.ndarray, offset: int, starts: np.ndarray, length: int
    ) -> Embeddings:
        batch = max(1, int(BATCH_SECONDS * self._encoder.sample_rate) // length)
        views = np.lib.stride_tricks.sliding_window_view(waveform, length)
        vectors = [
            self._encoder.embed_batch(views[starts[first : first + batch] - offset])
            for first in range(0, len(starts), batch)
        ]
        return Embeddings(
            ids=[recording.id] * len(starts),
            vectors=np.concatenate(vectors),
            speakers=[recording.speaker] * len(starts),
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


def _recordings(encoder: Encoder, source: Path, allow_pipes: bool) -> Iterator[Recording]:
    if (source / "pack.json").is_file():
        pack = Pack.open(source)
        if pack.kind != "audio":
            raise InputError(f"{source}: a feature pack; windows need an audio pack")
        pack.require(encoder.config.front_end)
        for row, (name, speaker) in enumerate(zip(pack.ids, pack.speakers)):
            yield Recording(name, speaker, _of_pack(pack, row))
        return
    data = read_datadir(source, allow_pipes=allow_pipes)
    starts = data.column("start") or [0.0] * len(data)
    ends = data.column("end") or [None] * len(data)
    channels = data.column("channel") or [None] * len(data)
    for row, (name, speaker, path) in enumerate(zip(data.ids, data.speakers, data.paths)):
        part = starts[row] or 0.0, ends[row], channels[row]
        of = _of_pipe if audio.is_pipe(path) else _of_file
        yield Recording(name, speaker, of(path, encoder.sample_rate, *part))


def _of_pack(pack: Pack, row: int) -> Callable[[], tuple[int, Read]]:
    def read(first: int, last: int) -> np.ndarray:
        return audio.from_int16(pack.crop(row, first, last - first))

    return lambda: (int(pack.lengths[row]), read)


def _of_file(
    path: str, rate: int, start: float, end: float | None, channel: int | None
) -> Callable[[], tuple[int, Read]]:
    def read(first: int, last: int) -> np.ndarray:
        # a little more than needed, as times are rounded to samples of the file
        upto = start + last / rate + 1e-3
        waveform, _ = audio.read(path, rate, start=start + first / rate, end=upto, channel=channel)
        # the stated length of an MP3 file is accurate to about a frame
        return np.pad(waveform[: last - first], (0, max(0, last - first - len(waveform))))

    def opened() -> tuple[int, Read]:
        whole = audio.seconds(path)
        return int((min(end or whole, whole) - start) * rate + 1e-6), read

    return opened


def _of_pipe(
    path: str, rate: int, start: float, end: float | None, channel: int | None
) -> Callable[[], tuple[int, Read]]:
    def opened() -> tuple[int, Read]:
        waveform, _ = audio.read(path, rate, start=start, end=end, channel=channel, allow_pipes=True)
        return len(waveform), lambda first, last: waveform[first:last]

    return opened
