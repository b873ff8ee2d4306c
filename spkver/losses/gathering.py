"""The global batch of a loss that compares or ranks samples: what the processes of torch.distributed have, together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


def processes() -> int:
    """How many there are; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def over_processes(values: Tensor) -> Tensor:
    """The values (N, ...) of all processes one after the other, every process with as many; of this one if alone."""
    return _Gather.apply(values) if processes() > 1 else values


def own_part(values: Tensor) -> Tensor:
    """Of values (processes·N, ...) those of this process."""
    return values.chunk(processes())[distributed.get_rank()] if processes() > 1 else values


class _Gather(torch.autograd.Function):
    """With a gradient for a loss that every process computes from the whole batch.

    So every process has the gradient of all samples, and takes that of its own; times their number, as gradients of
    weights are averaged over processes afterwards.
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
