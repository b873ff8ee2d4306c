"""The classes of a head divided over the processes of the default group of torch.distributed.

Every process has a range of classes and the same number of samples. Embeddings and labels of all processes are
gathered, each process compares the whole batch with its own classes, and the results go back to the process of the
sample. It combines them: L by logsumexp, the largest logit by max, counts and the target by sum (the target is zero on
all processes but one).

Gradients are those of the mean over the processes' losses, which is the loss of the whole batch. The gradient of an
embedding is that of its own process's loss, as DistributedDataParallel expects, which averages over processes. The
gradient of a process's weights is already that of the mean and must not be averaged again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from spkver.errors import InputError
from spkver.losses.reductions.base import Others, Target

SHARD = "shard"
"""Key, next to the weights of a head, of their range of classes (start, stop) and the number of all classes."""


class Split:
    """The range of classes of this process (`held`), and the exchange with the others.

    Without a process group, one process has all classes. Raises InputError for fewer classes than processes.
    """

    def __init__(self, classes: int) -> None:
        alone = not (distributed.is_available() and distributed.is_initialized())
        self.rank, self.processes = (0, 1) if alone else (distributed.get_rank(), distributed.get_world_size())
        if classes < self.processes:
            raise InputError(f"{classes} speakers cannot be split over {self.processes} processes; set split to false")
        self.held = ranges(classes, self.processes)[self.rank]

    def target(self, read: Callable[[Tensor, Tensor], Target], x: Tensor, y: Tensor) -> Target:
        """The Target of this process's samples. read: computes that of samples whose class this process has."""
        y = _gather(y, self.processes) - self.held.start
        mine = (y >= 0) & (y < len(self.held))
        target = read(_Gather.apply(x, self.processes), y.clamp(0, len(self.held) - 1))
        parts = torch.stack([torch.where(mine, value, 0) for value in target])
        return Target(*_Exchange.apply(parts, self.processes).sum(dim=0))

    def others(
        self,
        read: Callable[[Tensor, Tensor, Sequence[Tensor]], Others],
        x: Tensor,
        y: Tensor,
        thresholds: Sequence[Tensor],
    ) -> Others:
        """The Others of this process's samples. read: computes that of any samples over the classes of this process."""
        y = _gather(y, self.processes) - self.held.start
        thresholds = [_gather(threshold, self.processes) for threshold in thresholds]
        part = read(_Gather.apply(x, self.processes), y, thresholds)
        # counts are exact in float64, so one exchange is enough for everything
        parts = torch.stack([part.logsumexp.double(), part.largest.double(), *(n.double() for n in part.counts)])
        found = _Exchange.apply(parts, self.processes)
        seen = found.detach()
        return Others(
            logsumexp=torch.logsumexp(found[:, 0], dim=0).to(part.logsumexp.dtype),
            largest=seen[:, 1].amax(dim=0).to(part.largest.dtype),
            counts=tuple(seen[:, 2:].sum(dim=0).long()),
        )


def ranges(classes: int, processes: int) -> list[range]:
    """The range of classes of each process; the first `classes % processes` have one more."""
    least, more = divmod(classes, processes)
    starts = (rank * least + min(rank, more) for rank in range(processes + 1))
    return [range(*ends) for ends in pairwise(starts)]


def _gather(x: Tensor, processes: int) -> Tensor:
    """Gather (N, ...) from every process to (processes·N, ...), in the order of ranks."""
    if processes == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(processes)]
    distributed.all_gather(parts, x.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """`_gather` with a gradient: the sum of the gradients from all processes, times their number.

    The factor cancels that of _Exchange: the gradient of a sample is that of its own process's loss.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, processes: int) -> Tensor:
        ctx.processes = processes
        return _gather(x, processes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if ctx.processes == 1:
            return gradient, None
        gradient = gradient.contiguous().clone()
        distributed.all_reduce(gradient)
        return ctx.processes * gradient.chunk(ctx.processes)[distributed.get_rank()], None


class _Exchange(torch.autograd.Function):
    """Send the results of every process for all samples to the processes of the samples.

    (T, processes·N) to (processes, T, N): row r has the results of process r. Gradients are sent back and divided by
    the number of processes, because they are those of the mean of the losses.
    """

    @staticmethod
    def forward(ctx: Any, parts: Tensor, processes: int) -> Tensor:
        ctx.processes = processes
        return _all_to_all(parts.unflatten(1, (processes, -1)).transpose(0, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _all_to_all(gradient / ctx.processes).transpose(0, 1).flatten(1), None


def _all_to_all(x: Tensor) -> Tensor:
    """(processes, ...): row r is sent to process r, and row r of the result comes from it."""
    if len(x) == 1:
        return x
    received = torch.empty_like(x, memory_format=torch.contiguous_format)
    distributed.all_to_all_single(received, x.contiguous())
    return received


def join(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The state of a whole head from the states of all processes, in any order.

    Any head can load it, split or not. Tensors without rows of classes are those of the first process. Raises
    InputError if the states are not the parts of one head.
    """
    if any(SHARD not in state for state in states):
        raise InputError("these are not the parts of a split head: they do not state their speakers")
    states = sorted(states, key=lambda state: int(state[SHARD][0]))
    return {
        key: join_rows([state[key] for state in states], [state[SHARD] for state in states]) if tensor.ndim else tensor
        for key, tensor in states[0].items()
        if key != SHARD
    }


def join_rows(parts: Sequence[Tensor], shards: Sequence[Tensor]) -> Tensor:
    """Join rows of classes, for example an optimizer's momentum, from the parts of all processes, in any order.

    Raises InputError for missing or overlapping parts.
    """
    held = sorted(zip([shard.tolist() for shard in shards], parts), key=lambda pair: pair[0])
    ends = [0, *(stop for (_, stop, _), _ in held)]
    if [start for (start, _, _), _ in held] != ends[:-1] or {classes for (_, _, classes), _ in held} != {ends[-1]}:
        parts_held = ", ".join(f"{start} to {stop - 1} of {classes}" for (start, stop, classes), _ in held)
        raise InputError(f"these parts do not form one head: speakers {parts_held}")
    return torch.cat([part for _, part in held])


def cut_rows(whole: Tensor, shard: Tensor) -> Tensor:
    """The rows of a shard, from those of all classes."""
    start, stop, classes = shard.tolist()
    return whole.unflatten(0, (classes, -1))[start:stop].flatten(0, 1)
