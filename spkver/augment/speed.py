"""Speed perturbation by resampling, which scales duration, pitch and formants together."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def change_speed(waveform: Tensor, speed: float) -> Tensor:
    """Play (batch, time) at `speed` times its speed: (batch, ceil(time / speed)).

    The polyphase filter of scipy.signal.resample_poly (Kaiser, β = 5), as a matrix product with overlapping frames.
    """
    up, down = ratio(speed)
    if up == down:
        return waveform
    kernel, left = _kernel(up, down, waveform.device)
    samples = waveform.shape[-1]
    length = -(-samples * up // down)
    blocks = -(-length // up)
    right = max(0, (blocks - 1) * down + kernel.shape[-1] - left - samples)
    frames = F.pad(waveform, (left, right)).unfold(-1, kernel.shape[-1], down)[:, :blocks]
    # not a convolution, which may use TF32 on a GPU
    return (frames @ kernel.to(waveform.dtype).T).flatten(1)[:, :length]


def ratio(speed: float) -> tuple[int, int]:
    """The speed as resampling factors (up, down), with a denominator of at most 100."""
    fraction = Fraction(speed).limit_denominator(100)
    return fraction.denominator, fraction.numerator


@functools.lru_cache(maxsize=16)
def _kernel(up: int, down: int, device: torch.device) -> tuple[Tensor, int]:
    """(up, taps), cached on the device: row r gives the outputs r, r + up, ...; and the number of past samples used."""
    from scipy.signal import firwin

    half = 10 * max(up, down)
    taps = firwin(2 * half + 1, 1.0 / max(up, down), window=("kaiser", 5.0)) * up
    first = -(half // up)
    last = ((up - 1) * down + half) // up
    index = np.arange(up)[:, None] * down - np.arange(first, last + 1) * up + half
    inside = (index >= 0) & (index < len(taps))
    kernel = np.where(inside, taps[np.where(inside, index, 0)], 0.0)
    return torch.from_numpy(kernel.astype(np.float32)).to(device), -first
