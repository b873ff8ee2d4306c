"""Digital silence: frames without any signal do not count.

Editors, noise gates, conferences and padding put zeros into recordings. The logarithm of such a frame is the floor, so
far below that of any sound that a few of them move the mean over the utterance and the statistics of the network's
pooling. Front ends therefore put the other frames of the utterance in their place. Shapes stay as they are: a batch
needs no mask, and a GPU does not wait.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SWING = 2 / 32768  # one step of 16-bit PCM up or down, which is what Opus makes of zeros
LOW, HIGH = 1e-4, 1e-3  # of the recording's swing: -80 and -60 dB
RANGE_DB = 100.0  # of logarithmic features, whose silence is further down


def silent_frames(frames: Tensor, scale: float = 1.0) -> Tensor:
    """Which frames hold no signal: samples that move by no more than one step of 16-bit PCM up or down.

    In loud recordings more counts as none, up to 80 dB below the recording's swing; in quiet ones less, so that it is
    at least 60 dB below. A constant offset is no signal.
    frames: (batch, frames, samples) as they are cut from the waveform, without dither; scale: what full scale is in
    them. Returns bool (batch, frames).
    """
    swing = frames.amax(dim=-1) - frames.amin(dim=-1)
    loudest = swing.amax(dim=-1, keepdim=True)
    return swing <= torch.maximum((loudest * HIGH).clamp_max(1.001 * SWING * scale), loudest * LOW)


def silent_features(features: Tensor, floor: float) -> Tensor:
    """Which frames hold no signal, where no more than their logarithms (base e, of powers) are known.

    features: (batch, frames, bins); their mean over time may be subtracted. A frame is silent when all of its bins are
    at the floor, or when their mean is 100 dB below that of the loudest frame. Returns bool (batch, frames).
    """
    level = features.mean(dim=-1)
    far_below = level <= level.amax(dim=-1, keepdim=True) - RANGE_DB / 10 * math.log(10)
    return far_below | (features <= floor + 1e-3).all(dim=-1)


def with_neighbours(silent: Tensor) -> Tensor:
    """The silent frames (batch, frames) and those beside them, which overlap them by more than half."""
    return F.max_pool1d(silent.float()[:, None], 3, stride=1, padding=1)[:, 0] > 0


def leave_out(features: Tensor, silent: Tensor) -> Tensor:
    """Features without the silent frames: the others move up, and repeat from the first to fill the length.

    features: (batch, frames, bins); silent: bool (batch, frames). An utterance whose frames are all silent, or all
    not, is returned as it is.
    """
    batch, length = silent.shape
    time = torch.arange(length, device=features.device)
    order = (time + silent * length).argsort(dim=-1)  # those with a signal first, each part in order
    count = (~silent).sum(dim=-1, keepdim=True)
    count = torch.where(count == 0, length, count)
    index = order.gather(1, time % count) + length * torch.arange(batch, device=features.device)[:, None]
    return features.flatten(0, 1).index_select(0, index.flatten()).view_as(features)  # whole rows are copied
