"""The dense reduction: all (N, C) logits at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from spkver.losses.reductions.base import (
    Others,
    Prototypes,
    Reduction,
    ReductionConfig,
    count_above,
    log_sum,
    mask_own,
    normalise,
)


class DenseConfig(ReductionConfig):
    """All logits at once: memory grows with batch size times number of speakers."""

    name: Literal["dense"] = "dense"


class Dense(Reduction):
    """All (N, C) logits at once, with autograd."""

    Config = DenseConfig
    sparse_own = False

    def __init__(self, config: DenseConfig) -> None:
        pass

    def __call__(self, a: Tensor, prototypes: Prototypes, y: Tensor, thresholds: Sequence[Tensor]) -> Others:
        """See Reduction.__call__."""
        return reduced(all_logits(a, prototypes), y, thresholds)


def reduced(logits: Tensor, y: Tensor, thresholds: Sequence[Tensor], first: int = 0) -> Others:
    """Reduce logits (N, C), whose own classes are masked in-place. first: the class of the first column."""
    logits = mask_own(logits, y, first)
    seen = logits.detach()
    work = torch.empty_like(seen)
    counts = tuple(count_above(seen, threshold, work).long() for threshold in thresholds)
    return Others(log_sum(logits), seen.amax(dim=1), counts)


def all_logits(a: Tensor, prototypes: Prototypes) -> Tensor:
    """All logits z (N, C) of operands a (N, D)."""
    weight = prototypes.weight.to(a.dtype)
    bias = None if prototypes.bias is None else prototypes.bias.to(a.dtype)
    z = functional.linear(a, normalise(weight) if prototypes.unit else weight, bias)
    return z if prototypes.centres == 1 else z.unflatten(1, (-1, prototypes.centres)).max(dim=2).values
