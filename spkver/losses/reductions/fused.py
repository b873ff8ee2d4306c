"""The fused reduction: on a GPU, with Triton. Logits are never written to memory.

The forward pass also computes Σ softmax(z)·p, the gradient of L with respect to a, so the backward pass computes the
logits again only for the gradient to W: four matrix products in total. The order of all sums is deterministic.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spkver.errors import InputError, load_optional
from spkver.losses.reductions.base import NORM_FLOOR, Others, Prototypes, Reduction, ReductionConfig, finite

SAMPLES = 64
"""samples in a tile"""
WARPS, STAGES = 8, 2
MOST_VALUES = {"tf32x3": 256, "tf32": 512, "bf16": 512}
"""maximum embedding size by precision, because a tile has whole embeddings in the shared memory (of an H100)"""


class FusedConfig(ReductionConfig):
    """On a GPU, with Triton: the logits are never in device memory. Not run on a GPU yet."""

    name: Literal["fused"] = "fused"
    precision: Literal["tf32x3", "tf32", "bf16"] = "tf32x3"
    """precision of the factors of matrix products: float32 by three tf32 products, tf32, or bfloat16. Sums are in
    float32."""


class Fused(Reduction):
    """Tiles of samples × classes in the registers of a GPU."""

    Config = FusedConfig

    def __init__(self, config: FusedConfig) -> None:
        self.precision = config.precision

    def __call__(self, a: Tensor, prototypes: Prototypes, y: Tensor, thresholds: Sequence[Tensor]) -> Others:
        """See Reduction.__call__. Raises InputError without Triton or a GPU, and for embeddings that are too large."""
        form = _Form.of(a.shape[1], prototypes, self.precision)
        at = torch.stack(list(thresholds)) if thresholds else a.new_empty(0, len(a))
        logsumexp, largest, counts = _Fused.apply(
            a.contiguous(), prototypes.weight.contiguous(), prototypes.bias, y, at, form
        )
        return Others(logsumexp, largest, tuple(counts))


class _Form(NamedTuple):
    """The constants that kernels are compiled for, in the order of their arguments."""

    centres: int
    unit: bool
    biased: bool
    precision: str
    block_n: int
    block_c: int
    block_d: int

    @classmethod
    def of(cls, dim: int, prototypes: Prototypes, precision: str) -> _Form:
        """Raises InputError for embeddings that are too large."""
        if dim > MOST_VALUES[precision]:
            raise InputError(
                f"the fused reduction takes embeddings of up to {MOST_VALUES[precision]} values in {precision}, got "
                f"{dim}; set head.reduction to chunked"
            )
        values = max(16, 1 << (dim - 1).bit_length())
        block = min(64, (4096 if precision == "tf32x3" else 8192) // values)
        form = prototypes.centres, prototypes.unit, prototypes.bias is not None, precision
        return cls(*form, SAMPLES, block, values)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, thresholds: Tensor, form: _Form
    ) -> tuple[Tensor, Tensor, Tensor]:
        # the type of norm is that of the sums in the kernels
        norm = torch.linalg.vector_norm(weight, dim=1, dtype=a.dtype) if form.unit else a
        classes, summed = len(weight) // form.centres, ctx.needs_input_grad[0]
        tiles = -(-len(a) // form.block_n)
        part = _part(a, classes, tiles, form.block_c)
        parts = -(-classes // part)
        top, total = a.new_empty(2, parts, len(a)).unbind()
        weighted = a.new_empty(parts, *a.shape) if summed else a
        counts = y.new_empty(parts, len(a), len(thresholds), dtype=torch.int32)
        columns = 1 << max(0, len(thresholds) - 1).bit_length()
        _launch(
            _kernels(a).forward, (tiles, parts),
            a, weight, norm, bias, y, thresholds, top, total, weighted, counts,
            len(a), classes, a.shape[1], part, NORM_FLOOR,
            *form[:4], len(thresholds), summed, *form[4:], columns,
        )  # fmt: skip
        largest = top.amax(dim=0)
        scales = torch.exp(top - finite(largest))
        total = (scales * total).sum(dim=0)
        logsumexp = finite(largest) + total.log()
        to_a = None
        if summed:  # 0 / 0 for a sample without other classes
            to_a = torch.einsum("pn,pnd->nd", scales, weighted) / torch.where(total == 0, 1, total)[:, None]
        ctx.save_for_backward(a, weight, bias, y, norm, logsumexp, to_a)
        ctx.form = form
        counts = counts.sum(dim=0).T
        ctx.mark_non_differentiable(largest, counts)
        return logsumexp, largest, counts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        a, weight, bias, y, norm, logsumexp, to_a = ctx.saved_tensors
        to_weight = to_bias = None
        if any(ctx.needs_input_grad[1:3]):
            form: _Form = ctx.form
            classes = len(weight) // form.centres
            to_weight = torch.empty_like(weight)
            to_bias = None if bias is None else torch.empty_like(bias)
            _launch(
                _kernels(a).backward, (-(-classes // form.block_c), form.centres),
                a, weight, norm, bias, y, logsumexp, gradient.contiguous(), to_weight, to_bias,
                len(a), classes, a.shape[1], NORM_FLOOR, *form,
            )  # fmt: skip
        return None if to_a is None else gradient[:, None] * to_a, to_weight, to_bias, None, None, None


def _part(a: Tensor, classes: int, tiles: int, block: int) -> int:
    """The number of classes for one program, so that the programs fill the GPU a few times."""
    units = torch.cuda.get_device_properties(a.device).multi_processor_count if a.is_cuda else 1
    programs = max(1, -(-4 * units // tiles))
    return -(-classes // (programs * block)) * block


def _kernels(a: Tensor) -> ModuleType:
    """The module with the kernels, if there are Triton and a GPU (Triton's interpreter needs no GPU)."""
    if not a.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise InputError("the fused reduction needs a GPU; without one, set head.reduction to chunked")
    load_optional("triton", "fused")
    return importlib.import_module("spkver.losses.reductions.kernels")


def _launch(kernel: Any, grid: tuple[int, int], a: Tensor, *arguments: Any) -> None:
    """Run a kernel on the device of its first argument."""
    with torch.cuda.device_of(a):
        kernel[grid](a, *arguments, num_warps=WARPS, num_stages=STAGES)
