"""Shared by the front ends whose frames go through a Fourier transform of their own size: config and forward pass."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import Field, model_validator
from torch import Tensor

from spkver.features.base import FrontEndModule
from spkver.features.config import VADS, SpectralConfig
from spkver.features.fbank import normalise
from spkver.features.silence import leave_out, without_use


class SpectrogramConfig(SpectralConfig):
    """Base class of their configs."""

    fft_size: int = Field(512, gt=1)
    """size of the FFT, at least the number of samples in a frame"""

    @model_validator(mode="after")
    def _frame_fits(self) -> SpectrogramConfig:
        if self.frame_length > self.fft_size:
            raise ValueError(f"a frame of {self.frame_length} samples does not fit into an fft_size of {self.fft_size}")
        return self


class Spectrogram(FrontEndModule):
    """Waveform to normalised log mel spectrogram; no parameters, deterministic."""

    config: SpectrogramConfig

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        self.config = config
        self.vad = None if config.vad is None else VADS.build(config.vad, config)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, time) float in [-1, 1] to (batch, frames, bins) float32."""
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.float()
            # without digital silence (see `silence`) and pauses (`vad`)
            features = leave_out(self.log_mel(waveform), without_use(waveform, self.cut(waveform), 1.0, self.vad))
            return normalise(features, self.config.normalise)

    @abstractmethod
    def cut(self, waveform: Tensor) -> Tensor:
        """(batch, time) to overlapping frames (batch, frames, frame_length)."""

    @abstractmethod
    def log_mel(self, waveform: Tensor) -> Tensor:
        """The log mel spectrogram (batch, frames, bins) of all frames, before normalisation."""
