"""The global batch of all processes of torch.distributed, for losses that compare or rank samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


def processes() -> int:
    """The number of processes; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def over_processes(values: Tensor) -> Tensor:
    """The values (N, ...) of all processes, concatenated. Every process must have the same number."""
    return _Gather.apply(values) if processes() > 1 else values


def own_part(values: Tensor) -> Tensor:
    """The part of this process of values (processes·N, ...)."""
    return values.chunk(processes())[distributed.get_rank()] if processes() > 1 else values


class _Gather(torch.autograd.Function):
    """Gather with a gradient, for a loss that every process computes from the whole batch.

    Every process has the gradient of all samples and takes the part of its own, times the number of processes, because
    gradients of weights are averaged over processes afterwards.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values, memory_format=torch.contiguous_format) for _ in range(processes())]
        distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return processes() * own_part(gradient)
