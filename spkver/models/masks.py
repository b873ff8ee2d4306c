"""Padding in a batch of unequal lengths: masks (batch, frames), True for real frames; None without padding.

A convolution sees zeros beyond the end of an utterance, so the padding of its input must be zero. Means are taken over
the real frames. What a layer writes to the padding does not matter.
"""

from __future__ import annotations

import torch
from torch import Tensor


def up_to(lengths: Tensor, frames: int) -> Tensor:
    """The mask of the first frames of each row: lengths (batch,) to (batch, frames)."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def kept(x: Tensor, mask: Tensor | None) -> Tensor:
    """x (batch, ..., frames) with zeros in the padding."""
    return x if mask is None else x.masked_fill(~_as(x, mask), 0)


def mean(x: Tensor, mask: Tensor | None, dim: tuple[int, ...] = (-1,), keepdim: bool = False) -> Tensor:
    """The mean of x (batch, ..., frames) over dimensions that include the last one, without padding."""
    if mask is None:
        return x.mean(dim=dim, keepdim=keepdim)
    return kept(x, mask).sum(dim=dim, keepdim=keepdim) / number(x, mask, dim, keepdim)


def number(x: Tensor, mask: Tensor | None, dim: tuple[int, ...] = (-1,), keepdim: bool = False) -> Tensor:
    """How many values of x (batch, ..., frames) are real, over dimensions that include the last one."""
    # a sum instead of shapes, so that it stays dynamic in exports
    ones = torch.ones_like(x[:, :1])
    return kept(ones, mask).sum(dim=dim, keepdim=keepdim)


def narrowed(mask: Tensor | None, step: int) -> Tensor | None:
    """The mask after a padded convolution with a stride over time."""
    return mask if mask is None or step == 1 else mask[:, ::step]


def _as(x: Tensor, mask: Tensor) -> Tensor:
    return mask.view(len(mask), *(1 for _ in x.shape[1:-1]), -1)
