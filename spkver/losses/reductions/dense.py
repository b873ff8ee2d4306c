"""The plain reduction: all (N, C) logits at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from spkver.config import Component
from spkver.losses.reductions.base import Others, Prototypes, Reduction, count_above, mask_own, normalise


class DenseConfig(Component):
    """All logits at once: memory grows with the batch times the speakers."""

    name: Literal["dense"] = "dense"


class Dense(Reduction):
    """All (N, C) logits at once, by autograd."""

    Config = DenseConfig
    sparse_own = False

    def __init__(self, config: DenseConfig) -> None:
        pass

    def __call__(self, a: Tensor, prototypes: Prototypes, y: Tensor, thresholds: Sequence[Tensor]) -> Others:
        """See Reduction.__call__."""
        logits = _MaskOwn.apply(all_logits(a, prototypes), y)
        # of a single class: logsumexp of nothing but -inf has NaN for a gradient
        logsumexp = logits[:, 0] if prototypes.classes == 1 else torch.logsumexp(logits, dim=1)
        seen = logits.detach()
        work = torch.empty_like(seen)
        counts = tuple(count_above(seen, threshold, work).long() for threshold in thresholds)
        return Others(logsumexp, seen.amax(dim=1), counts)


class _MaskOwn(torch.autograd.Function):
    """mask_own in place; the gradient of what is -inf is 0 by itself."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, y: Tensor) -> Tensor:
        ctx.mark_dirty(logits)
        return mask_own(logits, y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def all_logits(a: Tensor, prototypes: Prototypes) -> Tensor:
    """All logits z (N, C) of operands a (N, D)."""
    weight = prototypes.weight.to(a.dtype)
    bias = None if prototypes.bias is None else prototypes.bias.to(a.dtype)
    z = functional.linear(a, normalise(weight) if prototypes.unit else weight, bias)
    return z if prototypes.centres == 1 else z.unflatten(1, (-1, prototypes.centres)).max(dim=2).values
