"""What heads and reductions share: the numbers' rules, and the form of a pass over the classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spkver.config import Component

NORM_FLOOR = 1e-6
"""Vectors shorter than this are divided by it instead of by their norm, and get no gradient."""


class Prototypes(NamedTuple):
    """The rows of W that a reduction reads, and what is made of them: z_c = max over the K rows of c of a·p + b."""

    weight: Tensor
    """W (C·K, D); class c has the rows c·K to c·K + K - 1"""
    bias: Tensor | None = None
    """b (C·K,)"""
    unit: bool = False
    """p = W / ‖W‖ by row, instead of W"""
    centres: int = 1
    """K"""

    @property
    def classes(self) -> int:
        """The number of classes C."""
        return len(self.weight) // self.centres

    def of(self, classes: Tensor) -> Prototypes:
        """Those of some classes, (any number,) int64."""
        rows = (classes[:, None] * self.centres + torch.arange(self.centres, device=classes.device)).flatten()
        bias = None if self.bias is None else self.bias.index_select(0, rows)
        return self._replace(weight=self.weight.index_select(0, rows), bias=bias)

    def parts(self, classes: int) -> Iterator[tuple[int, Prototypes]]:
        """Their rows in order, so many classes at a time, each part with the number of its first class."""
        # not slices: of those each would give the gradient of all rows
        weights = self.weight.split(classes * self.centres)
        biases = [None] * len(weights) if self.bias is None else self.bias.split(classes * self.centres)
        for number, (weight, bias) in enumerate(zip(weights, biases)):
            yield number * classes, self._replace(weight=weight, bias=bias)


class Target(NamedTuple):
    """A batch's own classes: tensors of shape (N,), with gradient."""

    logit: Tensor
    """z_y"""
    cosine: Tensor
    """c_y, the cosine of embedding and prototype"""
    scale: Tensor
    """σ with z_y = σ·c_y (+ bias): s, ‖x‖ or ‖W_y‖‖x‖"""
    norm: Tensor
    """‖x‖"""


class Others(NamedTuple):
    """What a batch needs to know about the classes j != y."""

    logsumexp: Tensor
    """(N,) L = log Σ e^{z_j}, with gradient; -inf where there is no other class"""
    largest: Tensor
    """(N,) max z_j, detached"""
    counts: tuple[Tensor, ...]
    """for each threshold t, (N,) int64: the number of z_j > t, strictly"""


class ReductionConfig(Component):
    """Base of the reductions' configs."""

    @property
    def classes_at_once(self) -> int | None:
        """The number of classes whose logits are in memory together; None for all."""
        return None


class Reduction(ABC):
    """Base of the reductions: one pass over the classes other than a sample's own."""

    sparse_own: ClassVar[bool] = True
    """whether the rows W_y that `Head.target` reads give a sparse gradient, so that W's is held once and not twice"""

    @abstractmethod
    def __call__(self, a: Tensor, prototypes: Prototypes, y: Tensor, thresholds: Sequence[Tensor]) -> Others:
        """The pass for operands a (N, D), at least float32.

        y (N,) int64 is the row of classes to leave out, of no effect where it is outside [0, C): a slice of the
        classes need not hold a sample's own. Thresholds (N,) are detached.
        """


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which autocast leaves the operations on x's device alone."""
    return torch.autocast(x.device.type, enabled=False)


def widen(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in the wider of their types, at least float32."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)
    return x.to(dtype), weight.to(dtype)


def unit_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x / max(‖x‖, NORM_FLOOR) over the last dimension, and the norms (..., 1)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / norm.clamp_min(NORM_FLOOR), norm


def unit_rows_gradient(gradient: Tensor, unit: Tensor, norm: Tensor, out: Tensor | None = None) -> Tensor:
    """The gradient to x of unit_rows(x) = (unit, norm), by its closed form (g - (g·u)u) / ‖x‖; 0 below the floor."""
    radial = (gradient * unit).sum(dim=-1, keepdim=True)
    tangent = torch.addcmul(gradient, unit, radial, value=-1, out=out)
    return tangent.mul_(torch.where(norm < NORM_FLOOR, 0, 1 / norm))


class _Normalise(torch.autograd.Function):
    """By its closed gradient: half the passes over W that autograd would make."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        unit, norm = unit_rows(x)
        ctx.save_for_backward(unit, norm)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return unit_rows_gradient(gradient, *ctx.saved_tensors)


def normalise(x: Tensor) -> Tensor:
    """x / max(‖x‖, NORM_FLOOR) over the last dimension; the gradient is 0 where the norm is below the floor."""
    return _Normalise.apply(x)


def mask_own(logits: Tensor, y: Tensor, first: int = 0) -> Tensor:
    """Write -inf in place at each sample's own class, where it is among the columns first, first + 1, ... of logits.

    y is masked out of the sum: subtracting e^{z_y} from it afterwards would cancel all digits of a sample learnt well.
    Differentiable: what follows (a logsumexp, a maximum) has gradient 0 at -inf by itself.
    """
    return _MaskOwn.apply(logits, y, first)


class _MaskOwn(torch.autograd.Function):
    """In place, which autograd's own scatter_ would refuse for logits that the backward pass needs."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, y: Tensor, first: int) -> Tensor:
        ctx.mark_dirty(logits)
        column = (y - first)[:, None]
        inside = (column >= 0) & (column < logits.shape[1])
        column = column.clamp(0, logits.shape[1] - 1)
        return logits.scatter_(1, column, torch.where(inside, -torch.inf, logits.gather(1, column)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient, None, None


def log_sum(logits: Tensor) -> Tensor:
    """(N,) logsumexp over the classes of masked logits (N, C)."""
    # of a single class: logsumexp of nothing but -inf has NaN for a gradient
    return logits[:, 0] if logits.shape[1] == 1 else torch.logsumexp(logits, dim=1)


def count_above(logits: Tensor, threshold: Tensor, work: Tensor) -> Tensor:
    """(N,) the number of logits (N, C) strictly above each sample's threshold; `work` (N, C) is overwritten."""
    # summed as floats, many times faster on a CPU than as integers, and exact up to 2^24 classes
    return torch.gt(logits, threshold[:, None], out=work).sum(dim=1)


def finite(x: Tensor) -> Tensor:
    """0 for -inf, the L and the largest logit of no classes: what exponents are taken relative to."""
    return torch.where(x == -torch.inf, 0, x)
