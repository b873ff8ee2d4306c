"""Diarization of recordings: from audio to stretches of speech of the speakers of each recording."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from spkver import audio
from spkver.datadir import from_columns, read_datadir
from spkver.diarization import CLUSTERINGS
from spkver.diarization.boundaries import Stretch, joined, second_speakers, stretches
from spkver.diarization.clustering import Number, centroids
from spkver.diarization.segmentation import RATE, SegmentationNetwork, overlap_regions, read_segmentation
from spkver.diarization.settings import Settings
from spkver.diarization.speech import Regions, speech_regions
from spkver.diarization.windows import Windows, embed_windows
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.lists import first_duplicate
from spkver.packs.layout import INDEX
from spkver.processes import one_thread
from spkver.progress import bar
from spkver.source import PackSource, Read, Recordings, Source, open_source
from spkver.storage import located

STAGES = ("speech", "overlap", "embeddings", "clustering")
MOST_OVERLAP = 0.3  # share of a window that takes part in the clustering


@dataclass
class Stages:
    """Seconds that each stage took, and the seconds of audio processed."""

    audio: float = 0.0
    took: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time of a block for a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.took[stage] += time.perf_counter() - start


@dataclass(frozen=True)
class Spoken:
    """Who speaks when in one recording.

    stretches: in order of time; speakers are counted from 0 in the order in which they first speak
    voices: the mean direction of each speaker's windows, length 1, float32 (speakers, dim)
    seconds: of speech of each speaker, float64 (speakers,)
    """

    recording: str
    stretches: list[Stretch]
    voices: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True)
class Heard:
    """Speech and windows of one recording, before clustering.

    overlaps: where several speak, if it was looked for; rate: Hz of the samples that regions count
    """

    recording: str
    regions: Regions
    windows: Windows
    rate: int
    overlaps: Regions = field(default_factory=list)


def segmentation_of(encoder: Encoder, settings: Settings) -> SegmentationNetwork | None:
    """The network of the settings that finds overlapping speech, if any. Raises InputError if it cannot be used."""
    if not settings.segmentation:
        return None
    network, rate = read_segmentation(settings.segmentation), encoder.sample_rate
    if rate != RATE:
        raise InputError(f"{settings.segmentation}: the segmentation network takes {RATE} Hz, the model {rate} Hz")
    return network


def listen(
    encoder: Encoder,
    settings: Settings,
    network: SegmentationNetwork | None,
    name: str,
    samples: int,
    read: Read,
    stages: Stages,
) -> Heard:
    """Find the speech of a recording and embed its windows.

    network: that of `segmentation_of`; samples, read: the recording, as `Source.open` gives it
    Raises InputError if it cannot be read or is too short.
    """
    rate = encoder.sample_rate
    if samples < encoder.min_samples:
        least = encoder.min_samples / rate
        raise InputError(f"{name}: too short ({samples / rate:.3f} s, minimum {least:g} s)")
    overlaps: Regions = []
    with bar(total=round((2 if network is None else 3) * samples / rate), what=name[-40:], unit="s") as progress:

        def tick(done: int) -> None:
            progress.update(done / rate)

        with one_thread(), stages.timed("speech"):  # the result does not depend on the number of cores
            regions = speech_regions(settings.vad, samples, read, rate, tick)
        if network is not None:
            with one_thread(), stages.timed("overlap"):
                overlaps = overlap_regions(network, samples, read, tick)
        with one_thread(), stages.timed("embeddings"):
            windows = embed_windows(encoder, regions, samples, read, settings.window, settings.shift, tick)
    stages.audio += samples / rate
    return Heard(name, regions, windows, rate, overlaps)


def cluster(heard: Heard, settings: Settings, number: Number, stages: Stages) -> Spoken:
    """Find the speakers of a recording, and when they speak."""
    windows = heard.windows
    if not len(windows):
        return Spoken(heard.recording, [], np.empty((0, windows.vectors.shape[1]), np.float32), np.empty(0))
    with one_thread(), stages.timed("clustering"):
        labels = _labels(heard, settings, number)
        found = stretches(windows, labels, heard.regions, heard.rate, settings.penalty)
        found = joined(found + second_speakers(found, heard.overlaps, heard.rate))
        order = list(dict.fromkeys(stretch.speaker for stretch in found))
        place = {speaker: row for row, speaker in enumerate(order)}
        seconds = np.zeros(len(order))
        for stretch in found:
            seconds[place[stretch.speaker]] += stretch.end - stretch.start
        voices = centroids(windows.vectors, labels)[order]
    return Spoken(
        heard.recording, [stretch._replace(speaker=place[stretch.speaker]) for stretch in found], voices, seconds
    )


def _labels(heard: Heard, settings: Settings, number: Number) -> np.ndarray:
    """The speaker of each window. Windows in which several speak get the nearest speaker of the other windows."""
    windows = heard.windows
    single = windows.covered(heard.overlaps, heard.rate) < MOST_OVERLAP
    clustering = CLUSTERINGS.build(settings.clustering)
    if single.all() or not single.any():
        return clustering(windows, settings.shift, number)
    labels = np.empty(len(windows), np.int64)
    labels[single] = clustering(windows.taken(single), settings.shift, number)
    speakers = centroids(windows.vectors[single], labels[single])
    labels[~single] = (windows.vectors[~single] @ speakers.T).argmax(axis=1)
    return labels


def recordings(
    paths: Sequence[StrPath], encoder: Encoder, *, channel: int | None = None, allow_pipes: bool = False
) -> Source:
    """The recordings of files, or of a data directory or audio pack, at the sample rate of the model.

    channel: 0-based; by default the channels of a file are mixed
    A file has its name without suffix as its id. Raises InputError for two files with the same id.
    """
    rate, taken = encoder.sample_rate, audio.MIX if channel is None else channel
    if len(paths) == 1 and located(paths[0]).is_dir():
        if (located(paths[0]) / INDEX).is_file():
            return open_source(paths[0], front_end=encoder.config.front_end).audio()
        data, name = read_datadir(paths[0], allow_pipes=allow_pipes), str(paths[0])
        return Recordings(data, name, sample_rate=rate, allow_pipes=allow_pipes, channel=taken)
    ids = [Path(str(path)).stem for path in paths]
    if (twice := first_duplicate(pa.array(ids))) is not None:
        path = paths[ids.index(twice)]
        raise InputError(f"{path}: two recordings have the name '{twice}'; give them as a data directory")
    return Recordings(from_columns(ids, [str(path) for path in paths], ids), sample_rate=rate, channel=taken)


def channel_notes(source: Source, channel: int | None) -> list[str]:
    """What is done with recordings of several channels, one line each."""
    if channel is not None or isinstance(source, PackSource):
        return []
    notes = []
    for name, path, stated in zip(source.ids, *_paths(source)):
        if stated is None and not audio.is_pipe(path) and (count := _channels(path)) > 1:
            notes.append(
                f"{name}: {count} channels are mixed; --channel N takes one. If each speaker has a channel of "
                "their own, the channel says who speaks, and diarization is not needed"
            )
    return notes


def _paths(source: Source) -> tuple[list[str], list[int | None]]:
    table = source.table()
    paths = table["path"].to_pylist()
    return paths, table["channel"].to_pylist() if "channel" in table.column_names else [None] * len(paths)


def _channels(path: str) -> int:
    try:
        return audio.channels(path)
    except InputError:  # is rejected when it is read
        return 1
