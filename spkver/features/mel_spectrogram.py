"""Log mel spectrograms by the short-time Fourier transform, as in SpeechBrain, torchaudio and ReDimNet.

torchaudio computes the spectrogram and the filters; SpeechBrain computes the filters of its own models. Pre-emphasis,
removal of digital silence and the logarithm are implemented here, once for all of them. The complete front ends of the
libraries cannot be used, because export combines the filters with a Fourier transform as a matrix product (`graph`).

Unlike Kaldi's (`fbank`): frames are centred on multiples of the shift, the window is periodic, pre-emphasis is
applied to the waveform instead of to each frame, and filters are triangles over Hz.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from spkver import compat
from spkver.features.spectrogram import Spectrogram, SpectrogramConfig

PAD_MODES = {"reflect": "reflect", "zeros": "constant"}
TOP_DB = 80.0  # `decibel` clips values this far below the maximum of an utterance


class MelSpectrogramConfig(SpectrogramConfig):
    """The defaults are ReDimNet's (torchaudio's MelSpectrogram); `front_end: speechbrain` is SpeechBrain's."""

    name: Literal["mel_spectrogram"] = "mel_spectrogram"
    window: Literal["hamming", "hann"] = "hamming"
    """window function, periodic"""
    preemphasis: float = Field(0.97, ge=0, le=1, description="pre-emphasis of the waveform in [-1, 1]")
    unit_variance: bool = Field(False, description="normalise the waveform to mean 0 and variance 1 first")
    padding: Literal["reflect", "zeros"] = Field("reflect", description="padding by half an fft_size at the ends")
    filters: Literal["htk", "speechbrain"] = Field(
        "htk", description="htk: torchaudio's, between neighbouring centres; speechbrain: symmetric triangles"
    )
    logarithm: Literal["natural", "decibel", "none"] = Field(
        "natural",
        description="natural: ln(x + floor); decibel: 10 log10(max(x, floor)), to 80 dB below the maximum; none: x",
    )
    floor: float = Field(1e-6, gt=0)
    """floor of the energies, see logarithm"""

    @property
    def centre(self) -> int:
        """The sample in the middle of the first frame."""
        return 0

    def frames(self, samples: int) -> int:
        """Number of frames of a recording of that many samples."""
        return samples // self.frame_shift + 1

    def samples(self, frames: int) -> int:
        """The minimum number of samples that gives that many frames and allows reflection at the ends."""
        return max((frames - 1) * self.frame_shift, self.fft_size // 2 + 1, self.frame_length)


class MelSpectrogram(Spectrogram):
    """Waveform to normalised log mel spectrogram; no parameters, deterministic."""

    Config = MelSpectrogramConfig
    config: MelSpectrogramConfig
    window: Tensor
    mel: Tensor

    def __init__(self, config: MelSpectrogramConfig) -> None:
        super().__init__(config)
        make = torch.hamming_window if config.window == "hamming" else torch.hann_window
        self.register_buffer("window", make(config.frame_length, dtype=torch.float32), persistent=False)
        self.register_buffer("mel", FILTERS[config.filters](config), persistent=False)

    def cut(self, waveform: Tensor) -> Tensor:
        """(batch, time) to overlapping frames (batch, frames, frame_length), centred on multiples of the shift."""
        config = self.config
        return self._padded(waveform, config.frame_length).unfold(-1, config.frame_length, config.frame_shift)

    def _padded(self, waveform: Tensor, size: int) -> Tensor:
        """(batch, time) padded at both ends, so that frames of that size start half a frame earlier."""
        before, after = size // 2, size - size // 2
        return F.pad(waveform[:, None], (before, after), PAD_MODES[self.config.padding])[:, 0]

    def log_mel(self, waveform: Tensor) -> Tensor:
        """See Spectrogram."""
        config = self.config
        waveform = emphasised(waveform, config.preemphasis, unit_variance=config.unit_variance)
        mel = torch.matmul(self.power(waveform), self.mel)
        if config.logarithm == "none":
            return mel
        if config.logarithm == "natural":
            return (mel + config.floor).log()
        decibels = 10.0 * mel.clamp_min(config.floor).log10()
        return torch.maximum(decibels, decibels.amax(dim=(1, 2), keepdim=True) - TOP_DB)

    def power(self, waveform: Tensor) -> Tensor:
        """Power spectrum (batch, frames, fft_size / 2 + 1)."""
        config = self.config
        spectrogram: Tensor = compat.torchaudio().functional.spectrogram(
            waveform,
            0,
            self.window,
            config.fft_size,
            config.frame_shift,
            config.frame_length,
            power=2.0,
            normalized=False,
            pad_mode=PAD_MODES[config.padding],
        )
        return spectrogram.transpose(1, 2)


def emphasised(waveform: Tensor, preemphasis: float, *, unit_variance: bool) -> Tensor:
    """(batch, time) normalised to mean 0 and variance 1 if configured, and with pre-emphasis."""
    if unit_variance:
        variance, mean = torch.var_mean(waveform, dim=-1, keepdim=True, correction=0)
        waveform = (waveform - mean) / (variance.sqrt() + 1e-6)
    if preemphasis:
        before = F.pad(waveform[:, None], (1, 0), "reflect")[:, 0, :-1]
        waveform = torch.sub(waveform, before, alpha=preemphasis)
    return waveform


def _torchaudios_filters(config: MelSpectrogramConfig) -> Tensor:
    """(fft_size / 2 + 1, bins)."""
    bands = (config.fft_size // 2 + 1, config.low_hz, config.high_hz, config.bins, config.sample_rate)
    filters: Tensor = compat.torchaudio().functional.melscale_fbanks(*bands)
    return filters


def _speechbrains_filters(config: MelSpectrogramConfig) -> Tensor:
    """(fft_size / 2 + 1, bins): the output of its filterbank for spectra with a single line each."""
    compat.speechbrain()
    from speechbrain.processing.features import Filterbank

    filterbank = Filterbank(
        n_mels=config.bins,
        log_mel=False,
        f_min=config.low_hz,
        f_max=config.high_hz,
        n_fft=config.fft_size,
        sample_rate=config.sample_rate,
    )
    filters: Tensor = filterbank(torch.eye(config.fft_size // 2 + 1)[None])[0]
    return filters


FILTERS = {"htk": _torchaudios_filters, "speechbrain": _speechbrains_filters}
