"""Configs of the front ends; every model directory and feature pack contains one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from spkver.config import Component, Of
from spkver.registry import Registry

VADS = Registry("vad", {"energy": "spkver.features.vad:EnergyVad", "silero": "spkver.features.vad:SileroVad"})


class VadConfig(Component):
    """Base class of the configs of voice activity detectors."""


Normalise = Literal["none", "mean", "mean_variance", "instance_norm", "per_feature"]


class FrontEndBase(Component, ABC):
    """Base class of front-end configs."""

    sample_rate: int = Field(16000, gt=0, description="Hz")
    bins: int = Field(80, gt=0)
    """values per frame"""
    if TYPE_CHECKING:  # a field of each subclass, with its own values
        normalise: Normalise

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Number of frames of a recording of that many samples."""

    @abstractmethod
    def samples(self, frames: int) -> int:
        """The smallest number of samples that gives that many frames."""


class SpectralConfig(FrontEndBase):
    """Shared by filterbanks: frames and frequency band."""

    frame_length_ms: float = Field(25.0, gt=0)
    """length of the window"""
    frame_shift_ms: float = Field(10.0, gt=0)
    """distance between the starts of two frames"""
    low_hz: float = Field(20.0, ge=0)
    """lower end of the lowest filter"""
    high_hz: float = 7600.0
    """upper end of the highest filter, at most half the sample rate"""
    normalise: Normalise = Field(
        "mean", description="over the utterance: CMN, CMVN, as torch's InstanceNorm1d, or as NeMo"
    )
    vad: Annotated[
        Annotated[VadConfig, Of(VADS)] | None, BeforeValidator(lambda value: None if value == "none" else value)
    ] = None
    """detector of speech: energy, silero, or none. Other frames are removed (digital silence always is)"""

    @model_validator(mode="after")
    def _band(self) -> SpectralConfig:
        if not self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise ValueError(
                f"the band {self.low_hz:g} to {self.high_hz:g} Hz must rise and not exceed half the sample rate, "
                f"{self.sample_rate / 2:g} Hz (for 8 kHz, `front_end: telephone`)"
            )
        if self.frame_shift_ms > self.frame_length_ms:
            raise ValueError("frame_shift_ms must not exceed frame_length_ms")
        if self.frame_shift < 1 or self.frame_length < 2:
            raise ValueError(f"a frame of {self.frame_length} samples every {self.frame_shift} is too short")
        return self

    @property
    def frame_length(self) -> int:
        """Samples in a frame."""
        return int(self.sample_rate * self.frame_length_ms / 1000)

    @property
    def frame_shift(self) -> int:
        """Samples from one frame to the next."""
        return int(self.sample_rate * self.frame_shift_ms / 1000)

    @property
    @abstractmethod
    def centre(self) -> int:
        """The sample in the middle of the first frame."""


class FrontEndConfig(SpectralConfig):
    """Kaldi's filterbank. The defaults are those of sherpa-onnx, so that exports match.

    `front_end: telephone`, or `front_end: {name: telephone, bins: 40}`: see FRONT_ENDS for the names of known ones.
    """

    name: Literal["fbank"] = "fbank"
    window: Literal["povey", "hamming", "hann", "rectangular"] = "povey"
    """Kaldi's povey is a Hann window to the power of 0.85"""
    preemphasis: float = Field(0.97, ge=0, le=1)
    """factor of the previous sample, which is subtracted; 0 for none"""
    remove_dc: bool = True
    """subtract the mean of each frame"""
    snip_edges: bool = False
    """use only complete frames; otherwise one frame per shift, mirrored at the ends"""
    dither: float = Field(0.0, ge=0, description="added to every frame in training only, in int16 units")
    scale: float = Field(32768.0, gt=0, description="the waveform in [-1, 1] is multiplied by this")

    @property
    def centre(self) -> int:
        """The sample in the middle of the first frame."""
        return (self.frame_length if self.snip_edges else self.frame_shift) // 2

    def frames(self, samples: int) -> int:
        """Number of frames of a recording of that many samples."""
        return count_frames(samples, self.frame_length, self.frame_shift, snip_edges=self.snip_edges)

    def samples(self, frames: int) -> int:
        """The smallest number of samples that gives that many frames (and at least one frame length)."""
        if self.snip_edges:
            return self.frame_length + (frames - 1) * self.frame_shift
        return max(self.frame_length, frames * self.frame_shift - self.frame_shift // 2)


def count_frames(samples: int, length: int, shift: int, *, snip_edges: bool) -> int:
    """Kaldi's number of frames: those that fit (snip_edges), or one per shift with mirrored ends."""
    if snip_edges:
        return max(0, 1 + (samples - length) // shift)
    return (samples + shift // 2) // shift
