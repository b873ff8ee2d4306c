"""Log mel spectrograms of ReDimNet2, which follow TensorFlow: symmetric window, zeros at the ends, no Nyquist bin."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from spkver.features.mel_spectrogram import emphasised
from spkver.features.spectrogram import Spectrogram, SpectrogramConfig


class TfMelConfig(SpectrogramConfig):
    """The defaults are those of the releases of ReDimNet2."""

    name: Literal["tf_mel"] = "tf_mel"
    bins: int = Field(72, gt=0)
    """values per frame"""
    preemphasis: float = Field(0.97, ge=0, le=1, description="pre-emphasis of the waveform in [-1, 1]")
    unit_variance: bool = Field(True, description="normalise the waveform to mean 0 and variance 1 first")
    floor: float = Field(1e-8, gt=0)
    """floor of the energies; its inverse is their upper limit"""

    @property
    def centre(self) -> int:
        """The sample in the middle of the first frame."""
        return self.frame_length // 2 - self.frame_shift // 2

    def frames(self, samples: int) -> int:
        """Number of frames of a recording of that many samples."""
        return max(0, 1 + (samples + 2 * (self.frame_shift // 2) - self.frame_length) // self.frame_shift)

    def samples(self, frames: int) -> int:
        """The minimum number of samples that gives that many frames."""
        return max((frames - 1) * self.frame_shift + self.frame_length - 2 * (self.frame_shift // 2), 2)


class TfMel(Spectrogram):
    """Waveform to normalised log mel spectrogram; no parameters, deterministic."""

    Config = TfMelConfig
    config: TfMelConfig
    dft: Tensor
    mel: Tensor

    def __init__(self, config: TfMelConfig) -> None:
        super().__init__(config)
        self.register_buffer("dft", torch.from_numpy(_dft(config)), persistent=False)
        self.register_buffer("mel", torch.from_numpy(_filters(config)), persistent=False)

    def cut(self, waveform: Tensor) -> Tensor:
        """(batch, time) to overlapping frames (batch, frames, frame_length), with zeros at both ends."""
        config = self.config
        margin = config.frame_shift // 2
        return F.pad(waveform, (margin, margin)).unfold(-1, config.frame_length, config.frame_shift)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """See Spectrogram."""
        config = self.config
        waveform = emphasised(waveform, config.preemphasis, unit_variance=config.unit_variance)
        real, imaginary = torch.matmul(self.cut(waveform), self.dft).chunk(2, dim=-1)
        limits = config.floor, 1 / config.floor
        power = (real.square() + imaginary.square()).clamp(*limits)
        return (torch.matmul(power, self.mel).clamp(*limits) + config.floor).log()


def _dft(config: TfMelConfig) -> np.ndarray:
    """(frame_length, fft_size): window, real parts, imaginary parts, without the Nyquist frequency."""
    angles = 2 * np.pi * np.outer(np.arange(config.frame_length), np.arange(config.fft_size // 2)) / config.fft_size
    parts = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return (np.hamming(config.frame_length)[:, None] * parts).astype(np.float32)


def _filters(config: TfMelConfig) -> np.ndarray:
    """(fft_size / 2, bins): triangles over mel; the last row is taken as half the sample rate, the first is zero."""
    rows = config.fft_size // 2
    edges = np.linspace(_mel(config.low_hz), _mel(config.high_hz), config.bins + 2)
    below, centre, above = edges[:-2], edges[1:-1], edges[2:]
    mel = _mel(np.linspace(0, config.sample_rate // 2, rows))[1:, None]
    triangles = np.minimum((mel - below) / (centre - below), (above - mel) / (above - centre)).clip(min=0)
    return np.vstack([np.zeros((1, config.bins)), triangles]).astype(np.float32)


def _mel(hz: float | np.ndarray) -> np.ndarray:
    return 2595 * np.log10(1 + np.asarray(hz) / 700)
