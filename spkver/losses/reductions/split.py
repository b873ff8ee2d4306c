"""The classes of a head divided over the processes of torch.distributed's default group.

Every process has its range of classes and as many samples of the batch as every other. The embeddings and labels of
all are gathered, each process reads the whole batch against its own classes, and what it found for a sample goes back
to the sample's process, which puts the parts together: L by logsumexp, the largest by max, counts and the target by
sum, since all but one process have zeros for it.

Gradients are those of the mean of the processes' losses, each over its own samples, which is the loss of the whole
batch. At an embedding the gradient is that of its own process's loss, as a network under DistributedDataParallel wants
it, which averages over processes; at a process's weights it is of the mean already, and must not be averaged again.
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
"""The key, beside a head's weights, of the first and past-the-last class that they belong to, and of all classes."""


class Split:
    """This process's range of classes, and the exchange with the others; `held` is the range.

    Without a process group there is one process, which holds all. Raises InputError for fewer classes than processes.
    """

    def __init__(self, classes: int) -> None:
        alone = not (distributed.is_available() and distributed.is_initialized())
        self.rank, self.processes = (0, 1) if alone else (distributed.get_rank(), distributed.get_world_size())
        if classes < self.processes:
            raise InputError(f"{classes} speakers cannot be split over {self.processes} processes; set split to false")
        self.held = ranges(classes, self.processes)[self.rank]

    def target(self, read: Callable[[Tensor, Tensor], Target], x: Tensor, y: Tensor) -> Target:
        """The Target of this process's samples; `read` gives that of samples whose class is held here."""
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
        """The Others of this process's samples; `read` gives those of any samples over the classes held here."""
        y = _gather(y, self.processes) - self.held.start
        thresholds = [_gather(threshold, self.processes) for threshold in thresholds]
        part = read(_Gather.apply(x, self.processes), y, thresholds)
        # float64 holds the counts exactly, and one exchange serves for all
        parts = torch.stack([part.logsumexp.double(), part.largest.double(), *(n.double() for n in part.counts)])
        found = _Exchange.apply(parts, self.processes)
        seen = found.detach()
        return Others(
            logsumexp=torch.logsumexp(found[:, 0], dim=0).to(part.logsumexp.dtype),
            largest=seen[:, 1].amax(dim=0).to(part.largest.dtype),
            counts=tuple(seen[:, 2:].sum(dim=0).long()),
        )


def ranges(classes: int, processes: int) -> list[range]:
    """The classes of each process, as even as can be: the first classes % processes hold one more."""
    least, more = divmod(classes, processes)
    starts = (rank * least + min(rank, more) for rank in range(processes + 1))
    return [range(*ends) for ends in pairwise(starts)]


def _gather(x: Tensor, processes: int) -> Tensor:
    """(N, ...) of every process to (processes·N, ...), in the order of their ranks."""
    if processes == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(processes)]
    distributed.all_gather(parts, x.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """_gather; each process's gradient is the sum over all of what they made of its part, times their number.

    The factor undoes _Exchange's: a sample's gradient is that of its own process's loss.
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
    """What every process found for all samples, to the samples' processes.

    (T, processes·N) to (processes, T, N): row r is what process r found. Gradients go back the same way, divided by the
    number of processes: they are of the mean of the losses.
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
    """(processes, ...): row r goes to process r, and comes from it."""
    if len(x) == 1:
        return x
    received = torch.empty_like(x, memory_format=torch.contiguous_format)
    distributed.all_to_all_single(received, x.contiguous())
    return received


def join(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The state of a whole head from those that all processes' heads gave, in any order.

    A head, split or not, loads it; what is no row of classes is taken from the first. Raises InputError for states
    that do not make up one head.
    """
    if any(SHARD not in state for state in states):
        raise InputError("these are not the parts of a split head: they do not say which speakers they hold")
    states = sorted(states, key=lambda state: int(state[SHARD][0]))
    return {
        key: join_rows([state[key] for state in states], [state[SHARD] for state in states]) if tensor.ndim else tensor
        for key, tensor in states[0].items()
        if key != SHARD
    }


def join_rows(parts: Sequence[Tensor], shards: Sequence[Tensor]) -> Tensor:
    """Rows of classes, such as an optimizer's momentum of a weight, from the parts of all processes, in any order.

    Raises InputError when parts are missing or overlap.
    """
    held = sorted(zip([shard.tolist() for shard in shards], parts), key=lambda pair: pair[0])
    ends = [0, *(stop for (_, stop, _), _ in held)]
    if [start for (start, _, _), _ in held] != ends[:-1] or {classes for (_, _, classes), _ in held} != {ends[-1]}:
        parts_held = ", ".join(f"{start} to {stop - 1} of {classes}" for (start, stop, classes), _ in held)
        raise InputError(f"these parts do not make up one head: speakers {parts_held}")
    return torch.cat([part for _, part in held])


def cut_rows(whole: Tensor, shard: Tensor) -> Tensor:
    """The rows that a shard holds, of those of all classes."""
    start, stop, classes = shard.tolist()
    return whole.unflatten(0, (classes, -1))[start:stop].flatten(0, 1)
