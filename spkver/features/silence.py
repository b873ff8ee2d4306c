"""Digital silence: frames without any signal are left out.

Editors, noise gates, conferencing software and padding put zeros into recordings. The log energy of such frames is so
low that a few of them shift the mean over the utterance and the statistics pooling of the network. Front ends therefore
replace them by other frames of the utterance. Shapes do not change, so no mask and no GPU synchronisation is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

SWING = 2 / 32768  # one step of 16-bit PCM up or down, as Opus decodes zeros
LOW, HIGH = 1e-4, 1e-3  # relative to the peak-to-peak range of the recording: -80 and -60 dB
RANGE_DB = 100.0  # log features this far below the loudest frame are silence


def silent_frames(frames: Tensor, scale: float = 1.0) -> Tensor:
    """Find frames without signal: samples vary by at most one step of 16-bit PCM up or down.

    In loud recordings the limit is higher, up to 80 dB below the peak-to-peak range of the recording; in quiet ones it
    is lower, at least 60 dB below. A constant offset is not a signal.
    frames: (batch, frames, samples) cut from the waveform, without dither; scale: their full-scale value
    Returns bool (batch, frames).
    """
    return silent_swings(frames.amax(dim=-1) - frames.amin(dim=-1), scale)


def silent_swings(swing: Tensor, scale: float = 1.0) -> Tensor:
    """As `silent_frames`, from the peak-to-peak range of the samples of each frame (batch, frames)."""
    loudest = swing.amax(dim=-1, keepdim=True)
    return swing <= torch.maximum((loudest * HIGH).clamp_max(1.001 * SWING * scale), loudest * LOW)


def silent_features(features: Tensor, floor: float) -> Tensor:
    """Find frames without signal in log-power features (natural logarithm).

    A frame is silent if all its bins are at the floor, or if their mean is 100 dB below that of the loudest frame.
    features: (batch, frames, bins); the mean over time may be subtracted. Returns bool (batch, frames).
    """
    level = features.mean(dim=-1)
    far_below = level <= level.amax(dim=-1, keepdim=True) - RANGE_DB / 10 * math.log(10)
    return far_below | (features <= floor + 1e-3).all(dim=-1)


def with_neighbours(silent: Tensor) -> Tensor:
    """Extend silent frames (batch, frames) by their neighbours, which overlap them by more than half."""
    padded = F.pad(silent, (1, 1))
    return padded[:, :-2] | silent | padded[:, 2:]


def without_use(
    waveform: Tensor, frames: Tensor, scale: float, speech: Callable[[Tensor, Tensor, Tensor], Tensor] | None
) -> Tensor:
    """Frames that a front end leaves out, bool (batch, frames): digital silence, and those without speech.

    waveform: (batch, time) in [-1, 1]; frames: (batch, frames, samples), the same times `scale`; speech: the detector
    of `features.vad`, None for none.
    """
    silent = silent_frames(frames, scale)
    unused = with_neighbours(silent)
    return unused if speech is None else unused | ~speech(waveform, frames / scale, silent)


def leave_out(features: Tensor, unused: Tensor) -> Tensor:
    """Remove frames: the other frames move up and are repeated from the first to fill the length.

    features: (batch, frames, bins); unused: bool (batch, frames). If none or all of them are unused, the utterance is
    returned unchanged.
    """
    batch, length = unused.shape
    time = torch.arange(length, device=features.device)
    order = torch.where(unused, time + length, time).argsort(dim=-1)  # frames with a signal first, order kept
    count = (~unused).sum(dim=-1, keepdim=True)
    count = torch.where(count == 0, length, count).clamp_min(1)  # a length of 0 has nothing to repeat
    first = torch.arange(batch * length, device=features.device).view(batch, length)[:, :1]
    index = order.gather(1, time % count) + first
    return features.flatten(0, 1).index_select(0, index.flatten()).view_as(features)  # whole rows are copied
