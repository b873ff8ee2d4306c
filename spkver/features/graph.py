"""Front ends for export, in operations that all runtimes have: framing by index, DFT as a matrix product.

A graph traced at one length is valid for all lengths: it contains no constant that depends on the length. All frames of
a recording are in memory at once, 160 kB per second at 16 kHz.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.features.config import FrontEndConfig
from spkver.features.fbank import EPSILON, FrontEnd, normalise
from spkver.features.mel_spectrogram import MelSpectrogram, MelSpectrogramConfig
from spkver.features.silence import leave_out, silent_features, with_neighbours

FLOOR = math.log(EPSILON)


def graph(front_end: nn.Module) -> nn.Module:
    """The same front end for export; one without a spectrum is returned as it is."""
    forms: dict[type[nn.Module], type[nn.Module]] = {FrontEnd: GraphFrontEnd, MelSpectrogram: GraphMelSpectrogram}
    form = forms.get(type(front_end))
    return front_end if form is None else form(front_end.config).eval()


class FromKaldi(nn.Module):
    """A network that takes Kaldi's filterbank as computed by other programs, including digital silence and mean.

    Features that are already normalised are accepted too.
    """

    def __init__(self, network: nn.Module, how: str) -> None:
        super().__init__()
        self.network, self.how = network, how

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""
        silent = with_neighbours(silent_features(features, FLOOR))
        return self.network(normalise(leave_out(features, silent), self.how))


class GraphFrontEnd(FrontEnd):
    """Kaldi's filterbank."""

    dft: Tensor

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__(config)
        self.register_buffer("dft", _dft(self.window, self.fft_size), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, time) float in [-1, 1] to (batch, frames, bins) float32."""
        return self.normalised(waveform)

    def cut(self, waveform: Tensor) -> Tensor:
        """(batch, time) to overlapping frames (batch, frames, frame_length), mirrored at the ends unless snip_edges."""
        config = self.config
        samples = waveform.shape[-1]
        index = _index(config.frames(samples), config.frame_length, config.frame_shift, waveform.device)
        if not config.snip_edges:
            index = index - (config.frame_length // 2 - config.frame_shift // 2)
            index = torch.where(index < 0, -1 - index, index)
            index = torch.where(index >= samples, 2 * samples - 1 - index, index)
        return waveform[:, index]

    def power(self, frames: Tensor) -> Tensor:
        """Power spectrum (batch, frames, fft_size / 2 + 1) of frames; the window is part of the DFT matrix."""
        return _power(frames, self.dft)


class GraphMelSpectrogram(MelSpectrogram):
    """Mel spectrogram of centred frames."""

    dft: Tensor

    def __init__(self, config: MelSpectrogramConfig) -> None:
        super().__init__(config)
        left = (config.fft_size - config.frame_length) // 2  # where torch.stft puts a window shorter than its frame
        window = F.pad(self.window, (left, config.fft_size - config.frame_length - left))
        self.register_buffer("dft", _dft(window, config.fft_size), persistent=False)

    def power(self, waveform: Tensor) -> Tensor:
        """Power spectrum (batch, frames, fft_size / 2 + 1)."""
        return _power(self._frames(waveform, self.config.fft_size), self.dft)

    def cut(self, waveform: Tensor) -> Tensor:
        """(batch, time) to overlapping frames (batch, frames, frame_length), centred on multiples of the shift."""
        return self._frames(waveform, self.config.frame_length)

    def _frames(self, waveform: Tensor, size: int) -> Tensor:
        index = _index(self.config.frames(waveform.shape[-1]), size, self.config.frame_shift, waveform.device)
        return self._padded(waveform, size)[:, index]


def _index(frames: int, length: int, shift: int, device: torch.device) -> Tensor:
    """(frames, length): index of every sample of every frame."""
    return (torch.arange(frames, device=device) * shift)[:, None] + torch.arange(length, device=device)


def _dft(window: Tensor, size: int) -> Tensor:
    """(length, 2 (size / 2 + 1)): windowed cosines, then sines."""
    time, frequency = torch.arange(len(window)), torch.arange(size // 2 + 1)
    # integers as long as possible, so that the angles are exact
    angle = ((time[:, None] * frequency) % size).double() * (2 * math.pi / size)
    return (torch.cat([angle.cos(), angle.sin()], dim=1) * window.double()[:, None]).float()


def _power(frames: Tensor, dft: Tensor) -> Tensor:
    squares = torch.matmul(frames, dft).square()
    half = dft.shape[1] // 2
    return squares[..., :half] + squares[..., half:]
