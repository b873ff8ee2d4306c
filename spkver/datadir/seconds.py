"""Durations of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver import audio
from spkver.datadir.table import DataDir
from spkver.errors import InputError, RunError
from spkver.processes import available_cpus, process_pool
from spkver.progress import bar

_CHUNK = 512  # files per task of a process


def read_seconds(paths: Sequence[str]) -> list[float | None]:
    """Read the duration of every recording in seconds from its header; None if it cannot be opened.

    Long lists are read by one process per core with several threads each, because most of the time is disk latency.
    """
    chunks = [paths[at : at + _CHUNK] for at in range(0, len(paths), _CHUNK)]
    jobs = min(available_cpus(), len(chunks) // 32)  # a process takes a second to start
    found = []
    pool = process_pool(jobs) if jobs > 1 else ThreadPoolExecutor(1)
    try:
        with bar(total=len(paths), what="durations", unit="file") as progress:
            for durations in pool.map(_seconds_of_all, chunks):
                found.append(durations)
                progress.update(len(durations))
    except BrokenProcessPool as error:
        raise RunError("a process that reads headers was killed (out of memory?); run again") from error
    finally:
        pool.shutdown(cancel_futures=True)
    return list(chain.from_iterable(found))


def _seconds_of_all(paths: Sequence[str]) -> list[float | None]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_seconds, paths))


def _seconds(path: str) -> float | None:
    try:
        return audio.seconds(path)
    except InputError:
        return None


def durations(data: DataDir) -> np.ndarray:
    """Seconds of every utterance: from utt2dur, else from the segment, else from the recording's header.

    Raises InputError for a recording that cannot be opened.
    """
    seconds = known_durations(data)
    if (unknown := np.flatnonzero(np.isnan(seconds))).size:
        path = data.table["path"][int(unknown[0])].as_py()
        raise InputError(f"{path}: cannot be opened, so its duration is unknown")
    return seconds


def known_durations(data: DataDir) -> np.ndarray:
    """As `durations`, with NaN for recordings that cannot be opened."""
    known = data.table["seconds"] if "seconds" in data.table.column_names else pa.nulls(len(data), pa.float64())
    if "start" in data.table.column_names:
        known = pc.coalesce(known, pc.subtract(data.table["end"], data.table["start"]))
    seconds = np.array(known, dtype=np.float64)
    unknown = np.flatnonzero(np.isnan(seconds))
    if len(unknown):
        seconds[unknown] = np.array(read_seconds(data.table["path"].take(pa.array(unknown)).to_pylist()), np.float64)
        if "start" in data.table.column_names:  # open-ended segments
            seconds[unknown] -= np.array(data.table["start"])[unknown]
    return seconds
