"""The front end in operations that every runtime has, for export: a gather and matrix products, no FFT."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spkver.features.config import FrontEndConfig
from spkver.features.fbank import FrontEnd, normalise


class GraphFrontEnd(FrontEnd):
    """`FrontEnd`, whose frames are gathered by index and whose DFT is a matrix product.

    Traced at one length it is right at all: no number that depends on the samples is left in the graph. It holds all
    frames of a recording at once, 160 kB for each second at 16 kHz.
    """

    dft: Tensor

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__(config)
        time, frequency = torch.arange(config.frame_length), torch.arange(self.fft_size // 2 + 1)
        # whole numbers until the last, so that the angles are exact
        angle = ((time[:, None] * frequency) % self.fft_size).double() * (2 * math.pi / self.fft_size)
        parts = torch.cat([angle.cos(), angle.sin()], dim=1)
        self.register_buffer("dft", (parts * self.window.double()[:, None]).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, time) float in [-1, 1] to (batch, frames, bins) float32."""
        return normalise(self.fbank(waveform), self.config.normalise)

    def cut(self, waveform: Tensor) -> Tensor:
        """(batch, time) to overlapping frames (batch, frames, frame_length), mirrored at the ends unless snip_edges."""
        config = self.config
        samples = waveform.shape[-1]
        starts = torch.arange(config.frames(samples), device=waveform.device) * config.frame_shift
        index = starts[:, None] + torch.arange(config.frame_length, device=waveform.device)
        if not config.snip_edges:
            index = index - (config.frame_length // 2 - config.frame_shift // 2)
            index = torch.where(index < 0, -1 - index, index)
            index = torch.where(index >= samples, 2 * samples - 1 - index, index)
        return waveform[:, index]

    def power(self, frames: Tensor) -> Tensor:
        """Power spectrum (batch, frames, fft_size / 2 + 1) of frames under the window, which is in the matrix."""
        squares = torch.matmul(frames, self.dft).square()
        half = self.fft_size // 2 + 1
        return squares[..., :half] + squares[..., half:]
