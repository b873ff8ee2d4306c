"""The chunked reduction: a range of classes at a time, on any device, in PyTorch.

The logits of a chunk are computed, summed, and overwritten by those of the next one; the backward pass computes them
again. This needs four matrix products instead of the three of `dense`, but memory does not grow with C: besides the
weights and their gradient, there are two buffers (N, chunk), a few (chunk, D), and some of the size of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from spkver.losses.reductions.base import (
    Others,
    Prototypes,
    Reduction,
    ReductionConfig,
    count_above,
    finite,
    full_precision,
    mask_own,
    unit_rows,
    unit_rows_gradient,
)


class ChunkedConfig(ReductionConfig):
    """A range of classes at a time: memory does not grow with the number of speakers."""

    name: Literal["chunked"] = "chunked"
    chunk: int = Field(default=4096, ge=1)
    """rows of W at a time; batch × chunk × 4 bytes should fit into the cache of a CPU; more is faster on a GPU"""

    @property
    def classes_at_once(self) -> int:
        """See ReductionConfig.classes_at_once."""
        return self.chunk


class Chunked(Reduction):
    """One chunk of classes after the other, computed again in the backward pass."""

    Config = ChunkedConfig

    def __init__(self, config: ChunkedConfig) -> None:
        self.chunk = config.chunk

    def __call__(self, a: Tensor, prototypes: Prototypes, y: Tensor, thresholds: Sequence[Tensor]) -> Others:
        """See Reduction.__call__."""
        weight, bias, unit, centres = prototypes
        form = _Form(unit, centres, max(1, self.chunk // centres))
        logsumexp, largest, *counts = _Stream.apply(a, weight, bias, y, form, *thresholds)
        return Others(logsumexp, largest, tuple(counts))


class _Form(NamedTuple):
    unit: bool
    centres: int
    classes: int  # in a chunk


class _Chunk(NamedTuple):
    rows: slice
    """of W"""
    p: Tensor
    """(rows, D) the prototypes"""
    norm: Tensor | None
    """(rows, 1) norms of W, if the prototypes have length 1"""
    logits: Tensor
    """(N, classes), with the own class masked; may be overwritten"""
    centre: Tensor | None
    """(N, classes, 1) the centre that gave the logit of a class"""
    work: Tensor
    """(N, rows) scratch buffer"""


class _Stream(torch.autograd.Function):
    """L with its gradient to a, W and b; the largest logits; the counts."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, form: _Form, *thresholds: Tensor
    ) -> tuple[Tensor, ...]:
        largest = a.new_full((len(a),), -torch.inf)
        total = torch.zeros_like(largest)  # Σ e^{z - largest}
        counts = [torch.zeros_like(y) for _ in thresholds]
        for chunk in _chunks(a, weight, bias, y, form):
            for count, threshold in zip(counts, thresholds):
                count += count_above(chunk.logits, threshold, chunk.work[:, : chunk.logits.shape[1]]).long()
            before, largest = largest, torch.maximum(largest, chunk.logits.amax(dim=1))
            base = finite(largest)
            total *= torch.exp(before - base)
            total += chunk.logits.sub_(base[:, None]).exp_().sum(dim=1)
        logsumexp = finite(largest) + total.log()
        ctx.save_for_backward(a, weight, bias, y, logsumexp)
        ctx.form = form
        ctx.mark_non_differentiable(largest, *counts)
        return logsumexp, largest, *counts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        a, weight, bias, y, logsumexp = ctx.saved_tensors
        to_a, to_weight, to_bias = (
            torch.zeros_like(of) if needed else None for of, needed in zip((a, weight, bias), ctx.needs_input_grad)
        )
        base = finite(logsumexp)[:, None]
        with full_precision(a):
            weighted = gradient[:, None] * a
            for chunk in _chunks(a, weight, bias, y, ctx.form):
                # dL_i / dz_ij = e^{z_ij - L_i}
                share = _to_rows(chunk, chunk.logits.sub_(base).exp_())
                if to_a is not None:
                    to_a.addmm_(share, chunk.p)
                if to_bias is not None:
                    to_bias[chunk.rows] = share.T @ gradient
                if to_weight is not None:
                    to_p = share.T @ weighted
                    to_weight[chunk.rows] = (
                        to_p if chunk.norm is None else unit_rows_gradient(to_p, chunk.p, chunk.norm, out=to_p)
                    )
            if to_a is not None:
                to_a *= gradient[:, None]
        return to_a, to_weight, to_bias, None, None, *[None] * (len(ctx.needs_input_grad) - 5)


def _chunks(a: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, form: _Form) -> Iterator[_Chunk]:
    """The chunks in order. A chunk is overwritten by the next one."""
    step = form.classes * form.centres
    made, scratch = a.new_empty(2, len(a) * min(step, len(weight))).unbind()
    for start in range(0, len(weight), step):
        rows = slice(start, min(start + step, len(weight)))
        shape = len(a), rows.stop - rows.start
        z, work = (buffer[: shape[0] * shape[1]].view(shape) for buffer in (made, scratch))
        p, norm = weight[rows].to(a.dtype), None
        if form.unit:
            p, norm = unit_rows(p)
        if bias is None:
            torch.mm(a, p.T, out=z)
        else:
            torch.addmm(bias[rows].to(a.dtype), a, p.T, out=z)
        centre = None
        if form.centres > 1:
            z, centre = z.unflatten(1, (-1, form.centres)).max(dim=2, keepdim=True)
            z = z.squeeze(2)
        yield _Chunk(rows, p, norm, mask_own(z, y, start // form.centres), centre, work)


def _to_rows(chunk: _Chunk, share: Tensor) -> Tensor:
    """Scatter (N, classes) to (N, rows): to the centre that gave the logit of the class; 0 for its other centres."""
    if chunk.centre is None:
        return share
    spread = chunk.work.zero_()
    spread.unflatten(1, (share.shape[1], -1)).scatter_(2, chunk.centre, share[:, :, None])
    return spread
