"""From labels of windows to turns, whose boundaries are finer than the shift of the windows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spkver.diarization.clustering import centroids
from spkver.diarization.speech import Regions
from spkver.diarization.windows import Windows

FRAME_SECONDS = 0.01


class Stretch(NamedTuple):
    """Speech of one speaker, from `start` to `end` in seconds."""

    start: float
    end: float
    speaker: int


def stretches(windows: Windows, labels: np.ndarray, regions: Regions, rate: int, penalty: float) -> list[Stretch]:
    """Who speaks where in the regions of speech, in order of time.

    The cosines of the windows with the speakers' centroids are interpolated between the middles of the windows. The
    best path through them takes a speaker for each frame; each change of speaker costs `penalty` seconds of cosine.
    """
    speakers = centroids(windows.vectors, labels)
    near = windows.vectors @ speakers.T
    found: list[Stretch] = []
    starts = np.searchsorted(windows.regions, np.arange(len(regions) + 1))
    for (first, last), rows in zip(regions, map(slice, starts[:-1], starts[1:])):
        start, end = first / rate, last / rate
        own = np.unique(labels[rows])
        if len(own) < 2:
            speaker = int(own[0]) if len(own) else _nearest(windows, labels, (start + end) / 2)
            found.append(Stretch(start, end, speaker))
            continue
        middles = windows.times[rows].mean(axis=1)
        frames = max(1, round((end - start) / FRAME_SECONDS))
        times = start + (np.arange(frames) + 0.5) * FRAME_SECONDS
        scores = np.stack([np.interp(times, middles, near[rows, speaker]) for speaker in own], axis=1)
        path = own[best_path(scores, penalty / FRAME_SECONDS)]
        edges = np.flatnonzero(np.r_[True, np.diff(path) != 0])
        times = np.r_[start + edges * FRAME_SECONDS, end]
        found += [Stretch(float(a), float(b), int(path[edge])) for a, b, edge in zip(times, times[1:], edges)]
    return found


def second_speakers(found: list[Stretch], overlaps: Regions, rate: int) -> list[Stretch]:
    """Stretches of a second speaker where two speak: the other one who speaks nearest in time, before or after.

    found: one speaker at a time, in order of time; overlaps: where two speak
    """
    starts, ends = np.array([one.start for one in found]), np.array([one.end for one in found])
    speakers = np.array([one.speaker for one in found])
    second: list[Stretch] = []
    for first, last in overlaps:
        for row in range(int(np.searchsorted(ends, first / rate, "right")), int(np.searchsorted(starts, last / rate))):
            start, end = max(first / rate, found[row].start), min(last / rate, found[row].end)
            distance = np.maximum(np.maximum(starts - end, start - ends), 0)
            distance[speakers == speakers[row]] = np.inf
            nearest = int(distance.argmin())
            if np.isfinite(distance[nearest]):
                second.append(Stretch(start, end, int(speakers[nearest])))
    return second


def joined(found: list[Stretch]) -> list[Stretch]:
    """The same speech with touching and overlapping stretches of a speaker merged, in order of time."""
    last: dict[int, int] = {}
    made: list[Stretch] = []
    for one in sorted(found):
        row = last.get(one.speaker)
        if row is not None and one.start <= made[row].end:
            made[row] = made[row]._replace(end=max(made[row].end, one.end))
        else:
            last[one.speaker] = len(made)
            made.append(one)
    return made


def best_path(scores: np.ndarray, penalty: float) -> np.ndarray:
    """The path (frames,) of the largest sum of scores (frames, states), less `penalty` for each change of state."""
    frames, states = scores.shape
    best, stay = scores[0].copy(), np.ones((frames, states), bool)
    before = np.zeros(frames, np.int64)
    for frame in range(1, frames):
        before[frame] = best.argmax()
        changed = best[before[frame]] - penalty
        stay[frame] = best >= changed
        best = np.maximum(best, changed) + scores[frame]
    path = np.empty(frames, np.int64)
    path[-1] = best.argmax()
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = path[frame] if stay[frame, path[frame]] else before[frame]
    return path


def _nearest(windows: Windows, labels: np.ndarray, time: float) -> int:
    """The label of the window nearest in time."""
    return int(labels[np.abs(windows.times.mean(axis=1) - time).argmin()])
