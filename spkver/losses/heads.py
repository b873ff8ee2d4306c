"""Heads: the class weights W (one prototype a speaker), and the two steps by which every loss reads them.

1. `target(x, y)`: each sample's own logit z_y, its cosine and scale, with gradient to the embedding and to W_y.
2. `others(x, y, thresholds)`: one pass over the classes j != y: L = logsumexp of z_j, the largest z_j, and for
   each threshold how many z_j exceed it.

A loss never sees the (N, C) logits, so a head may compute them whole, in chunks, or split over processes.

Both steps run in float32 whatever autocast says; lower precisions are widened, float64 stays float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from spkver.config import Component
from spkver.errors import InputError

NORM_FLOOR = 1e-6
"""Vectors shorter than this are divided by it instead of by their norm, and get no gradient."""


class Target(NamedTuple):
    """A batch's own classes: three tensors of shape (N,), with gradient."""

    logit: Tensor
    """z_y"""
    cosine: Tensor
    """c_y, the cosine of embedding and prototype"""
    scale: Tensor
    """σ with z_y = σ·c_y (+ bias): s, or ‖W_y‖‖x‖"""


class Others(NamedTuple):
    """What a batch needs to know about the classes j != y."""

    logsumexp: Tensor
    """(N,) L = log Σ e^{z_j}, with gradient"""
    largest: Tensor
    """(N,) max z_j, detached"""
    counts: tuple[Tensor, ...]
    """for each threshold t, (N,) int64: the number of z_j > t, strictly"""


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which autocast leaves the operations on x's device alone."""
    return torch.autocast(x.device.type, enabled=False)


def widen(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in the wider of their types, at least float32."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)
    return x.to(dtype), weight.to(dtype)


class _Normalise(torch.autograd.Function):
    """By the closed gradient (g - (g·u)u) / ‖x‖ for u = x / ‖x‖: half the passes over W that autograd would make."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        unit = x / norm.clamp_min(NORM_FLOOR)
        ctx.save_for_backward(unit, norm)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        unit, norm = ctx.saved_tensors
        radial = (gradient * unit).sum(dim=-1, keepdim=True)
        return torch.addcmul(gradient, unit, radial, value=-1).mul_(torch.where(norm < NORM_FLOOR, 0, 1 / norm))


def normalise(x: Tensor) -> Tensor:
    """x / max(‖x‖, NORM_FLOOR) over the last dimension; the gradient is 0 where the norm is below the floor."""
    return _Normalise.apply(x)


def reduce_others(logits: Tensor, y: Tensor, thresholds: Sequence[Tensor]) -> Others:
    """The reduction of `others` over the whole (N, C) logits, which it overwrites."""
    # y is masked out of the sum: subtracting e^{z_y} from it afterwards would cancel all digits of a sample learnt well
    logits = logits.scatter_(1, y[:, None], -torch.inf)
    seen = logits.detach()
    return Others(
        logsumexp=torch.logsumexp(logits, dim=1),
        largest=seen.amax(dim=1),
        # summed as floats, many times faster on a CPU than as integers, and exact up to 2^24 classes
        counts=tuple((seen > threshold[:, None]).float().sum(dim=1).long() for threshold in thresholds),
    )


class Head(nn.Module, ABC):
    """Base of the heads: the weight (classes, dim), its rows of length 1 on average at the start.

    Raises InputError for fewer than two classes: with one there is nothing to tell it from.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise InputError(f"a loss needs at least 2 speakers, got {classes}")
        self.weight = nn.Parameter(torch.empty(classes, dim))
        nn.init.normal_(self.weight, std=dim**-0.5)

    @property
    def classes(self) -> int:
        """The number of classes C."""
        return self.weight.shape[0]

    @abstractmethod
    def target(self, x: Tensor, y: Tensor) -> Target:
        """The own logit of each embedding x (N, dim), its label y (N,) int64 in [0, C)."""

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """All logits z (N, C)."""

    def others(self, x: Tensor, y: Tensor, thresholds: Sequence[Tensor] = ()) -> Others:
        """The classes other than y, read once; thresholds are detached tensors of shape (N,)."""
        with full_precision(x):
            return reduce_others(self.logits(x), y, thresholds)


class LinearConfig(Component):
    """z_j = W_j·x + b_j, as in softmax."""

    name: Literal["linear"] = "linear"
    bias: bool = True


class Linear(Head):
    """The head of softmax: z_j = W_j·x + b_j, with scale ‖W_j‖‖x‖."""

    Config = LinearConfig

    def __init__(self, config: LinearConfig, dim: int, classes: int) -> None:
        super().__init__(dim, classes)
        self.bias = nn.Parameter(torch.zeros(classes)) if config.bias else None

    def target(self, x: Tensor, y: Tensor) -> Target:
        """See Head.target. The bias is part of the logit and not of scale and cosine."""
        with full_precision(x):
            x, own = widen(x, functional.embedding(y, self.weight))
            logit = (x * own).sum(dim=1)
            if self.bias is not None:
                logit = logit + self.bias[y]
            scale = torch.linalg.vector_norm(x, dim=1) * torch.linalg.vector_norm(own, dim=1)
            return Target(logit, (normalise(x) * normalise(own)).sum(dim=1), scale)

    def logits(self, x: Tensor) -> Tensor:
        """See Head.logits."""
        with full_precision(x):
            x, weight = widen(x, self.weight)
            return functional.linear(x, weight, None if self.bias is None else self.bias.to(weight.dtype))


class NormalisedConfig(Component):
    """z_j = s·c_j, as in NSL, LMCL and AAM."""

    name: Literal["normalised"] = "normalised"
    s: float = Field(default=30.0, gt=0)


class Normalised(Head):
    """The cosine head of NSL, LMCL and AAM: z_j = s·cos(W_j, x)."""

    Config = NormalisedConfig

    def __init__(self, config: NormalisedConfig, dim: int, classes: int) -> None:
        super().__init__(dim, classes)
        self.s = config.s

    def target(self, x: Tensor, y: Tensor) -> Target:
        """See Head.target."""
        with full_precision(x):
            x, own = widen(x, functional.embedding(y, self.weight))
            cosine = (normalise(x) * normalise(own)).sum(dim=1)
            return Target(self.s * cosine, cosine, torch.full_like(cosine, self.s))

    def logits(self, x: Tensor) -> Tensor:
        """See Head.logits."""
        with full_precision(x):
            x, weight = widen(x, self.weight)
            return functional.linear(self.s * normalise(x), normalise(weight))
