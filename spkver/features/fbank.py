"""Log mel filterbank by Kaldi's definition (feat/feature-fbank.cc), batched, on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spkver.features.base import FrontEndModule
from spkver.features.config import VADS, FrontEndConfig, count_frames
from spkver.features.silence import leave_out, without_use

EPSILON = torch.finfo(torch.float32).eps  # Kaldi's floor of the mel energies
VARIANCE_FLOOR = {"mean_variance": 1e-10, "instance_norm": 1e-5}  # added to the variance


class FrontEnd(FrontEndModule):
    """Waveform to normalised log filterbank; no parameters; random only with `dither` in training."""

    Config = FrontEndConfig
    config: FrontEndConfig
    window: Tensor
    mel: Tensor

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__()
        self.config = config
        self.vad = None if config.vad is None else VADS.build(config.vad, config)
        self.fft_size = 1 << (config.frame_length - 1).bit_length()
        self.register_buffer("window", _window(config.window, config.frame_length).float(), persistent=False)
        self.register_buffer("mel", mel_matrix(config, self.fft_size).float(), persistent=False)

    @property
    def bins(self) -> int:
        """Values per frame."""
        return self.config.bins

    def frames(self, samples: int) -> int:
        """Number of frames of a recording of that many samples."""
        return self.config.frames(samples)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, time) float in [-1, 1] to (batch, frames, bins) float32."""
        # on a CPU, one utterance at a time fits the cache and is several times faster
        parts = waveform.split(1) if waveform.device.type == "cpu" else [waveform]
        with torch.autocast(waveform.device.type, enabled=False):
            features = [self.normalised(part) for part in parts]
        return torch.cat(features) if len(features) > 1 else features[0]

    def normalised(self, waveform: Tensor) -> Tensor:
        """The log filterbank without digital silence (`silence`) and pauses (`vad`), normalised over the utterance."""
        config = self.config
        frames = self.cut(waveform.float() * config.scale)
        unused = without_use(waveform, frames, config.scale, self.vad)
        return normalise(leave_out(self.log_mel(frames), unused), config.normalise)

    def fbank(self, waveform: Tensor) -> Tensor:
        """The log filterbank as Kaldi computes it, including digital silence, not normalised."""
        return self.log_mel(self.cut(waveform.float() * self.config.scale))

    def log_mel(self, frames: Tensor) -> Tensor:
        """(batch, frames, frame_length) to (batch, frames, bins)."""
        config = self.config
        if config.dither and self.training:
            frames = frames + config.dither * torch.randn_like(frames)
        if config.remove_dc:
            frames = frames - frames.mean(dim=-1, keepdim=True)
        if config.preemphasis:
            # as in Kaldi, the first sample of a frame also replaces the sample before it
            before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
            frames = torch.sub(frames, before, alpha=config.preemphasis)
        return torch.matmul(self.power(frames), self.mel).clamp_min(EPSILON).log()

    def cut(self, waveform: Tensor) -> Tensor:
        """(batch, time) to overlapping frames (batch, frames, frame_length)."""
        config = self.config
        return cut_frames(waveform, config.frame_length, config.frame_shift, snip_edges=config.snip_edges)

    def power(self, frames: Tensor) -> Tensor:
        """Power spectrum (batch, frames, fft_size / 2 + 1) of frames under the window."""
        spectrum = torch.fft.rfft(frames * self.window, n=self.fft_size)
        return spectrum.real.square() + spectrum.imag.square()


def cut_frames(waveform: Tensor, length: int, shift: int, *, snip_edges: bool) -> Tensor:
    """(batch, time) to overlapping frames (batch, frames, length), mirrored at the ends unless snip_edges.

    Raises ValueError for less than one frame.
    """
    samples = waveform.shape[-1]
    count = count_frames(samples, length, shift, snip_edges=snip_edges)
    if samples < length or count < 1:
        raise ValueError(f"{samples} samples are fewer than one frame of {length}")
    if not snip_edges:
        left = length // 2 - shift // 2
        right = max(0, (count - 1) * shift + length - left - samples)
        flipped = waveform.flip(-1)
        waveform = torch.cat([flipped[..., samples - left :], waveform, flipped[..., :right]], dim=-1)
    return waveform.unfold(-1, length, shift)[..., :count, :]


def normalise(features: Tensor, how: str) -> Tensor:
    """Subtract the mean over time of (..., frames, bins); other methods also divide by the standard deviation."""
    if how == "none":
        return features
    centred = features - features.mean(dim=-2, keepdim=True)
    if how == "mean":
        return centred
    if how == "per_feature":  # NeMo's: unbiased, with the floor added to the deviation
        frames = torch.ones_like(centred[..., :1]).sum(dim=-2, keepdim=True)  # stays dynamic in exports
        variance = centred.square().sum(dim=-2, keepdim=True) / (frames - 1).clamp(min=1)
        return centred / (variance.sqrt() + 1e-5)
    return centred / centred.square().mean(dim=-2, keepdim=True).add(VARIANCE_FLOOR[how]).sqrt()


def normalise_again(features: Tensor, how: str) -> Tensor:
    """Normalise a part of an utterance whose features were normalised over the whole utterance (as in a pack).

    The scaling of `instance_norm` cannot be undone exactly, so it stays that of the utterance.
    """
    return normalise(features, "mean" if how == "instance_norm" else how)


def mel_matrix(config: FrontEndConfig, fft_size: int) -> Tensor:
    """(fft_size / 2 + 1, bins) float64: triangles of equal width on Kaldi's mel scale, 1127 ln(1 + f / 700)."""
    edges = torch.linspace(_mel(config.low_hz), _mel(config.high_hz), config.bins + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    hz = torch.arange(fft_size // 2 + 1, dtype=torch.float64) * config.sample_rate / fft_size
    mel = (1127.0 * torch.log1p(hz / 700.0))[:, None]
    # Kaldi excludes the Nyquist bin; here its weight is 0, because no band goes beyond it
    return torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)).clamp_min(0.0)


def _mel(hz: float) -> float:
    return 1127.0 * math.log1p(hz / 700.0)


def _window(name: str, length: int) -> Tensor:
    if name == "rectangular":
        return torch.ones(length, dtype=torch.float64)
    if name == "hamming":
        return torch.hamming_window(length, periodic=False, dtype=torch.float64)
    hann = torch.hann_window(length, periodic=False, dtype=torch.float64)
    return hann.pow(0.85) if name == "povey" else hann
