"""Further reductions over the classes, for losses that need more than L: on any device, in PyTorch.

They read a range of classes at a time, so that memory does not grow with the number of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from spkver.losses.reductions.base import Others, Prototypes, log_sum, mask_own
from spkver.losses.reductions.dense import all_logits, reduced

T = TypeVar("T")

CHUNK = 4096
"""classes at a time, unless the reduction of the head sets it"""


@torch.no_grad()
def nearest(a: Tensor, prototypes: Prototypes, y: Tensor, k: int, chunk: int = CHUNK) -> Tensor:
    """The classes other than y (N,) with the k largest logits of operands a (N, D): (N, k) int64, largest first.

    There must be more than k classes.
    """
    best = a.new_full((len(a), k), -torch.inf)
    classes = y.new_zeros(len(a), k)
    for first, part in prototypes.parts(chunk):
        logits = mask_own(all_logits(a, part), y, first)
        found, column = logits.topk(min(k, logits.shape[1]), dim=1)
        del logits  # before the next ones are computed
        best, place = torch.cat([best, found], dim=1).topk(k, dim=1)
        classes = torch.cat([classes, first + column], dim=1).gather(1, place)
    return classes


def total(
    term: Callable[[Tensor], Tensor], a: Tensor, prototypes: Prototypes, y: Tensor, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """(N,) Σ of term(z_j) over the classes other than y, with gradient, and (N,) the largest z_j, detached.

    term: an elementwise function of logits (N, classes)
    chunk: classes at a time, computed again in the backward pass; None: all at once
    """

    def one(first: int, part: Prototypes) -> tuple[Tensor, Tensor]:
        logits = all_logits(a, part)
        own = torch.arange(first, first + part.classes, device=y.device) == y[:, None]
        largest = logits.detach().masked_fill(own, -torch.inf).amax(dim=1)
        return term(logits).masked_fill(own, 0).sum(dim=1), largest

    sums, largest = zip(*_each(one, prototypes, chunk))
    return torch.stack(sums).sum(dim=0), torch.stack(largest).amax(dim=0)


def log_total(
    term: Callable[[Tensor], Tensor], a: Tensor, prototypes: Prototypes, y: Tensor, chunk: int | None = None
) -> Tensor:
    """(N,) log Σ of e^{term(z_j)} over the classes other than y, with gradient; term and chunk as in `total`."""

    def one(first: int, part: Prototypes) -> Tensor:
        return log_sum(mask_own(term(all_logits(a, part)), y, first))

    return torch.logsumexp(torch.stack(_each(one, prototypes, chunk)), dim=0)


def over_classes(
    logits: Callable[[Tensor, Prototypes], Tensor],
    a: Tensor,
    prototypes: Prototypes,
    y: Tensor,
    thresholds: Sequence[Tensor],
    chunk: int | None = None,
) -> Others:
    """Like a Reduction, for logits that are not a·p: a function of operands and prototypes. chunk as in `total`."""
    parts = _each(lambda first, part: reduced(logits(a, part), y, thresholds, first), prototypes, chunk)
    sums, largest, counts = zip(*parts)
    return Others(
        log_sum(torch.stack(sums, dim=1)),
        torch.stack(largest).amax(dim=0),
        tuple(torch.stack(each).sum(dim=0) for each in zip(*counts)),
    )


def _each(one: Callable[[int, Prototypes], T], prototypes: Prototypes, chunk: int | None) -> list[T]:
    """Apply a function to each chunk of classes, and again in the backward pass; without a chunk, to all at once."""
    if chunk is None:
        return [one(0, prototypes)]
    return [
        checkpoint(one, first, part, use_reentrant=False, preserve_rng_state=False)
        for first, part in prototypes.parts(chunk)
    ]
