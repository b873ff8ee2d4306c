"""Additive noise made from nothing but the batch: coloured noise, and babble of its other utterances."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from spkver.augment.draw import Range, chosen, power, uniform
from spkver.config import Component


class NoiseConfig(Component):
    """Signal-to-noise ratios are in dB, drawn uniformly per sample."""

    name: Literal["noise"] = "noise"
    probability: float = Field(0.5, ge=0, le=1)
    babble_share: float = Field(0.5, ge=0, le=1, description="of the noisy samples; the rest gets coloured noise")
    noise_snr_db: Range = (0.0, 20.0)
    babble_snr_db: Range = (5.0, 20.0)
    babble_voices: int = Field(4, gt=0)
    slope_db_per_octave: Range = (-6.0, 0.0)


class Noise:
    """Adds coloured noise or babble to a share of the batch at a drawn ratio; the speech keeps its level."""

    Config = NoiseConfig

    def __init__(self, config: NoiseConfig, sample_rate: int) -> None:
        self.config, self.sample_rate = config, sample_rate

    def __call__(self, waveform: Tensor, generator: torch.Generator) -> Tensor:
        """(batch, time) to the same shape."""
        config, batch = self.config, len(waveform)
        babble = chosen(batch, config.babble_share if batch > 1 else 0.0, generator)
        noise = torch.where(babble > 0, self._babble(waveform, generator), self._coloured(waveform, generator))
        snr = torch.where(
            babble > 0,
            uniform((batch, 1), *config.babble_snr_db, generator),
            uniform((batch, 1), *config.noise_snr_db, generator),
        )
        gain = (power(waveform) / power(noise)).sqrt() * 10 ** (-snr / 20)
        return waveform + chosen(batch, config.probability, generator) * gain * noise

    def _babble(self, waveform: Tensor, generator: torch.Generator) -> Tensor:
        """Each sample's sum of a few others of the batch at equal level, as one matrix product."""
        batch = len(waveform)
        draw = torch.rand((batch, batch), generator=generator, device=generator.device)
        draw.fill_diagonal_(-1.0)  # never itself
        voices = min(self.config.babble_voices, max(1, batch - 1))
        mix = torch.zeros_like(draw).scatter_(1, draw.topk(voices, dim=1).indices, 1.0)
        return mix @ (waveform / power(waveform).sqrt())

    def _coloured(self, waveform: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian noise with a drawn spectral slope."""
        batch, samples = waveform.shape
        size = 1 << (samples - 1).bit_length()
        spectrum = torch.fft.rfft(torch.randn((batch, size), generator=generator, device=generator.device))
        octaves = torch.arange(1, spectrum.shape[-1] + 1, device=waveform.device).log2()
        slope = uniform((batch, 1), *self.config.slope_db_per_octave, generator)
        return torch.fft.irfft(spectrum * 10 ** (slope * octaves / 20), n=size)[:, :samples]
