"""Log mel spectrograms of NeMo's speaker models: Slaney's filters, one frame for each whole shift of the recording."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from spkver import compat
from spkver.features.config import Normalise
from spkver.features.spectrogram import Spectrogram, SpectrogramConfig


class NemoConfig(SpectrogramConfig):
    """The defaults are TitaNet's."""

    name: Literal["nemo"] = "nemo"
    window: Literal["hann", "hamming"] = "hann"
    """window function, symmetric"""
    preemphasis: float = Field(0.97, ge=0, le=1, description="pre-emphasis of the waveform in [-1, 1]")
    low_hz: float = Field(0.0, ge=0)
    """lower end of the lowest filter"""
    high_hz: float = 8000.0
    """upper end of the highest filter, at most half the sample rate"""
    normalise: Normalise = Field("per_feature", description="normalisation over the utterance")
    floor: float = Field(2.0**-24, gt=0)
    """added to the energies before the logarithm"""

    @property
    def centre(self) -> int:
        """The sample in the middle of the first frame."""
        return 0

    def frames(self, samples: int) -> int:
        """Number of frames of a recording of that many samples."""
        return samples // self.frame_shift

    def samples(self, frames: int) -> int:
        """The minimum number of samples that gives that many frames."""
        return frames * self.frame_shift


class Nemo(Spectrogram):
    """Waveform to normalised log mel spectrogram; no parameters, deterministic."""

    Config = NemoConfig
    config: NemoConfig
    window: Tensor
    mel: Tensor

    def __init__(self, config: NemoConfig) -> None:
        super().__init__(config)
        make = torch.hamming_window if config.window == "hamming" else torch.hann_window
        window = F.pad(make(config.frame_length, periodic=False), _margins(config.fft_size - config.frame_length))
        bands = (config.fft_size // 2 + 1, config.low_hz, config.high_hz, config.bins, config.sample_rate)
        filters = compat.torchaudio().functional.melscale_fbanks(*bands, norm="slaney", mel_scale="slaney")
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel", filters, persistent=False)

    def cut(self, waveform: Tensor) -> Tensor:
        """(batch, time) to overlapping frames (batch, frames, frame_length), centred on multiples of the shift."""
        return self._frames(waveform, self.config.frame_length)

    def _frames(self, waveform: Tensor, size: int) -> Tensor:
        shift = self.config.frame_shift
        whole = waveform.shape[1] // shift
        return F.pad(waveform, (size // 2, size)).unfold(-1, size, shift)[:, :whole]

    def log_mel(self, waveform: Tensor) -> Tensor:
        """See Spectrogram."""
        config = self.config
        if config.preemphasis:  # the first sample stays
            waveform = waveform - config.preemphasis * F.pad(waveform[:, :-1], (1, 0))
        spectrum = torch.fft.rfft(self._frames(waveform, config.fft_size) * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        return (torch.matmul(power, self.mel) + config.floor).log()


def _margins(size: int) -> tuple[int, int]:
    return size // 2, size - size // 2
