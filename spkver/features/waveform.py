"""The waveform as features, for networks that take waveforms (self-supervised encoders)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.features.base import FrontEndModule
from spkver.features.config import FrontEndBase
from spkver.features.silence import leave_out, silent_frames

PIECE_SECONDS = 0.02  # a frame of the self-supervised encoders


class WaveformConfig(FrontEndBase):
    """Samples in [-1, 1]: one value per frame, and a frame per sample."""

    name: Literal["waveform"] = "waveform"
    bins: Literal[1] = 1
    """one value per sample"""
    normalise: Literal["none", "mean_variance"] = Field(
        "none",
        description="mean_variance: mean 0 and variance 1 over the utterance, as large self-supervised encoders need",
    )

    def frames(self, samples: int) -> int:
        """The same number."""
        return samples

    def samples(self, frames: int) -> int:
        """The same number."""
        return frames


class Waveform(FrontEndModule):
    """Samples, one value per frame."""

    Config = WaveformConfig
    config: WaveformConfig

    def __init__(self, config: WaveformConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, time) float in [-1, 1] to (batch, time, 1) float32."""
        waveform = self._without_silence(waveform.float())
        if self.config.normalise == "mean_variance":
            variance, mean = torch.var_mean(waveform, dim=-1, keepdim=True, correction=0)
            waveform = (waveform - mean) / (variance + 1e-7).sqrt()  # 1e-7 as in the published encoders
        return waveform[..., None]

    def _without_silence(self, waveform: Tensor) -> Tensor:
        """Remove pieces of 20 ms without any signal (see `silence`)."""
        length = round(PIECE_SECONDS * self.config.sample_rate)
        whole = waveform.shape[1] // length * length
        if not whole:
            return waveform
        pieces = waveform[:, :whole].reshape(waveform.shape[0], -1, length)
        kept = leave_out(pieces, silent_frames(pieces)).flatten(1)
        return torch.cat([kept, waveform[:, whole:]], dim=1)
