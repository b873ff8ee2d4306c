"""Speed perturbation by resampling, which scales duration, pitch and formants together."""

from __future__ import annotations

import functools
from fractions import Fraction

import torch
from torch import Tensor, nn

from spkver import compat


def change_speed(waveform: Tensor, speed: float) -> Tensor:
    """Play (batch, time) at `speed` times its speed: (batch, time / speed), rounded up."""
    up, down = ratio(speed)
    if up == down:
        return waveform
    resampled: Tensor = _resampler(up, down, waveform.device)(waveform)
    return resampled


def ratio(speed: float) -> tuple[int, int]:
    """The speed as resampling factors (up, down), with a denominator of at most 100."""
    fraction = Fraction(speed).limit_denominator(100)
    return fraction.denominator, fraction.numerator


@functools.lru_cache(maxsize=16)
def _resampler(up: int, down: int, device: torch.device) -> nn.Module:
    """Resample with torchaudio, because soxr does not run on a GPU; settings: kaiser_best in its documentation."""
    compat.torchaudio()
    from torchaudio.transforms import Resample

    resampler: nn.Module = Resample(
        down,
        up,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )
    return resampler.to(device)
