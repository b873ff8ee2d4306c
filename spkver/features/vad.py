"""Energy-based voice activity detection as in Kaldi (ivector/voice-activity-detection.cc)."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from spkver.config import Config
from spkver.features.fbank import EPSILON, cut_frames


class EnergyVadConfig(Config):
    """The defaults are those of Kaldi's VoxCeleb recipe; energies are natural logarithms at int16 scale."""

    threshold: float = 5.5
    mean_scale: float = Field(
        0.5, ge=0, description="this times the mean log energy of the recording is added to the threshold"
    )
    context: int = Field(2, ge=0, description="frames on either side that vote on a frame")
    proportion: float = Field(0.12, gt=0, lt=1, description="minimum share of votes for speech")
    frame_length_ms: float = Field(25.0, gt=0)
    frame_shift_ms: float = Field(10.0, gt=0)
    snip_edges: bool = False
    scale: float = Field(32768.0, gt=0, description="the waveform in [-1, 1] is multiplied by this")


def energy_vad(waveform: np.ndarray | Tensor, sample_rate: int, config: EnergyVadConfig | None = None) -> np.ndarray:
    """Which frames of a waveform (time,) in [-1, 1] are speech: bool (frames,), with the frames of the front end.

    A frame is speech if at least `proportion` of the frames around it have more energy than the threshold.
    Raises ValueError for less than one frame.
    """
    config = config or EnergyVadConfig()
    energy = log_energy(waveform, sample_rate, config)
    loud = energy > config.threshold + config.mean_scale * energy.mean()
    # votes in a window cut at the ends, as differences of running sums
    place = np.arange(len(loud))
    first, last = np.maximum(place - config.context, 0), np.minimum(place + config.context + 1, len(loud))
    running = np.concatenate([[0], np.cumsum(loud)])
    return running[last] - running[first] >= config.proportion * (last - first)


def log_energy(waveform: np.ndarray | Tensor, sample_rate: int, config: EnergyVadConfig) -> np.ndarray:
    """Log energy of every frame after mean removal, before pre-emphasis and window: float64 (frames,)."""
    length = int(sample_rate * config.frame_length_ms / 1000)
    shift = int(sample_rate * config.frame_shift_ms / 1000)
    samples = torch.as_tensor(waveform).double()[None] * config.scale
    frames = cut_frames(samples, length, shift, snip_edges=config.snip_edges)[0]
    energy = frames.var(dim=-1, correction=0) * length
    return energy.clamp_min(EPSILON).log().numpy()
