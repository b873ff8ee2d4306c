"""Regions of speech in a recording of any length, which is read in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from spkver.errors import InputError
from spkver.features.config import VADS, FrontEndConfig, VadConfig
from spkver.features.fbank import cut_frames
from spkver.features.silence import silent_swings
from spkver.features.vad import CHUNK, EnergyVad, SileroVad, decibels
from spkver.source import Read

PART_FRAMES = 512 * 50  # that are read at once; 512 samples are a piece of Silero's network
PAUSE_SECONDS = 0.3  # a shorter pause does not end a turn, as in NIST's evaluations
LEAST_SECONDS = 0.1  # a shorter sound is not speech
RELEASE_DB = 3.0  # speech that is loud enough in one frame continues in frames that are this much quieter

Regions = list[tuple[int, int]]
"""First and last (excluded) sample of each region of speech"""


def speech_regions(
    config: VadConfig, samples: int, read: Read, rate: int, tick: Callable[[int], object] = lambda samples: None
) -> Regions:
    """The regions of speech of a recording, in order.

    samples, read: the recording, as `Source.open` gives it; rate: Hz; tick: called with the number of samples done
    Levels are compared over the whole recording, so the parts that it is read in do not matter.
    """
    front_end = FrontEndConfig(sample_rate=rate, low_hz=0, high_hz=rate / 2)
    detector = VADS.build(config, front_end)
    if isinstance(detector, SileroVad):
        speech, shift = detector.heard(_parts(samples, read, PART_FRAMES * front_end.frame_shift, tick)), CHUNK
    elif isinstance(detector, EnergyVad):
        speech, shift = _by_energy(detector, front_end, samples, read, tick), front_end.frame_shift
    else:
        raise InputError(f"the voice activity detector '{config.name}' cannot read a recording in parts")
    return _regions(speech, shift, samples, rate)


def _parts(samples: int, read: Read, size: int, tick: Callable[[int], object]) -> Iterator[np.ndarray]:
    for first in range(0, samples, size):
        last = min(first + size, samples)
        yield read(first, last)
        tick(last - first)


def _by_energy(
    detector: EnergyVad, front_end: FrontEndConfig, samples: int, read: Read, tick: Callable[[int], object]
) -> np.ndarray:
    """bool (frames,)."""
    energies, swings = [], []
    shift = front_end.frame_shift
    for first in range(0, samples, PART_FRAMES * shift):
        last = min(first + PART_FRAMES * shift, samples)
        before = min(first, 2 * shift)  # so that the frames at the edges of a part are those of the recording
        after = min(samples - last, 2 * shift)
        waveform = torch.from_numpy(read(first - before, last + after))[None]
        frames = cut_frames(waveform, front_end.frame_length, shift, snip_edges=False)[0]
        frames = frames[before // shift : len(frames) - after // shift]
        energies.append(decibels(frames))
        swings.append(frames.amax(dim=-1) - frames.amin(dim=-1))
        tick(last - first)
    energy, silent = torch.cat(energies)[None], silent_swings(torch.cat(swings)[None])
    config = detector.config
    quieter = {"range_db": config.range_db + RELEASE_DB, "margin_db": max(config.margin_db - RELEASE_DB, 0.0)}
    patient = EnergyVad(config.model_copy(update=quieter))
    sure, perhaps = (one.louder(energy, silent)[0].numpy() for one in (detector, patient))
    return _runs_with(perhaps, sure)


def _runs_with(frames: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """The runs of `frames` in which a frame is marked; all bool (frames,)."""
    runs = np.cumsum(np.diff(frames, prepend=False) & frames)
    return frames & np.isin(runs, runs[frames & marked])


def _regions(speech: np.ndarray, shift: int, samples: int, rate: int) -> Regions:
    """Regions of samples from decisions (frames,) of `shift` samples each."""
    edges = np.flatnonzero(np.diff(np.r_[False, speech, False])).reshape(-1, 2) * shift
    if not len(edges):
        return []
    far = edges[1:, 0] - edges[:-1, 1] >= PAUSE_SECONDS * rate
    joined = np.stack([edges[np.r_[True, far], 0], edges[np.r_[far, True], 1]], axis=1).clip(max=samples)
    return [(int(a), int(b)) for a, b in joined if b - a >= LEAST_SECONDS * rate]
