"""Reverberation by simulated rooms: a direct path and exponentially decaying noise (Polack's model)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from spkver.augment.draw import Range, chosen, power, uniform
from spkver.config import Component

FIRST_REFLECTION = 0.002  # seconds after the direct path
SHORTEST_RT60 = 0.01


class ReverbConfig(Component):
    """Reverberation times in seconds (decay by 60 dB), direct-to-reverberant ratios in dB."""

    name: Literal["reverb"] = "reverb"
    probability: float = Field(0.3, ge=0, le=1)
    rt60: Range = (0.1, 0.7)
    direct_ratio_db: Range = (-3.0, 12.0)

    @model_validator(mode="after")
    def _rooms(self) -> ReverbConfig:
        if self.rt60[0] < SHORTEST_RT60:
            raise ValueError(f"rt60 starts at {SHORTEST_RT60:g} s, got {self.rt60[0]:g}")
        return self


class Reverb:
    """Convolves a share of the batch with rooms of its own; the level of the sample is kept."""

    Config = ReverbConfig

    def __init__(self, config: ReverbConfig, sample_rate: int) -> None:
        self.config, self.sample_rate = config, sample_rate

    def __call__(self, waveform: Tensor, generator: torch.Generator) -> Tensor:
        """(batch, time) to the same shape."""
        pick = chosen(len(waveform), self.config.probability, generator).bool().squeeze(1)
        rows = pick.nonzero().squeeze(1)
        if not len(rows):
            return waveform
        dry = waveform[rows]
        wet = convolve(dry, self.rooms(len(rows), generator))
        wet = wet * (power(dry) / power(wet)).sqrt()
        return waveform.index_copy(0, rows, wet)

    def rooms(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, time) impulse responses whose direct path is the first sample, at 1."""
        config = self.config
        samples = int(config.rt60[1] * self.sample_rate)
        time = torch.arange(samples, device=generator.device) / self.sample_rate
        rt60 = uniform((count, 1), *config.rt60, generator)
        tail = torch.randn((count, samples), generator=generator, device=generator.device)
        tail = tail * torch.exp(-3 * math.log(10) * time / rt60)  # amplitude falls by 60 dB in rt60
        tail[:, : int(FIRST_REFLECTION * self.sample_rate)] = 0.0
        ratio = 10 ** (uniform((count, 1), *config.direct_ratio_db, generator) / 10)
        tail = tail / (tail.square().sum(dim=-1, keepdim=True) * ratio).sqrt()
        tail[:, 0] = 1.0
        return tail


def convolve(waveform: Tensor, response: Tensor) -> Tensor:
    """Linear convolution by FFT, cut to the waveform's length."""
    samples = waveform.shape[-1]
    size = samples + response.shape[-1] - 1
    size = 1 << (size - 1).bit_length()
    product = torch.fft.rfft(waveform, n=size) * torch.fft.rfft(response, n=size)
    return torch.fft.irfft(product, n=size)[..., :samples]
