"""Shared by heads and reductions: numerical conventions, and the interface of a reduction."""

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
"""Lower limit of norms: shorter vectors are divided by this instead of by their norm, and get no gradient."""


class Prototypes(NamedTuple):
    """The rows of W for a reduction. z_c is the maximum of a·p + b over the K rows of class c."""

    weight: Tensor
    """W (C·K, D); class c has the rows c·K to c·K + K - 1"""
    bias: Tensor | None = None
    """b (C·K,)"""
    unit: bool = False
    """whether p is W / ‖W‖ by row, or W"""
    centres: int = 1
    """K"""

    @property
    def classes(self) -> int:
        """The number of classes C."""
        return len(self.weight) // self.centres

    def of(self, classes: Tensor) -> Prototypes:
        """The prototypes of some classes, int64 (any number,)."""
        rows = (classes[:, None] * self.centres + torch.arange(self.centres, device=classes.device)).flatten()
        bias = None if self.bias is None else self.bias.index_select(0, rows)
        return self._replace(weight=self.weight.index_select(0, rows), bias=bias)

    def parts(self, classes: int) -> Iterator[tuple[int, Prototypes]]:
        """The prototypes in parts of at most this many classes, each with its first class."""
        # not by slicing: the gradient of each slice would have all rows
        weights = self.weight.split(classes * self.centres)
        biases = [None] * len(weights) if self.bias is None else self.bias.split(classes * self.centres)
        for number, (weight, bias) in enumerate(zip(weights, biases)):
            yield number * classes, self._replace(weight=weight, bias=bias)


class Target(NamedTuple):
    """The own classes of a batch: tensors of shape (N,), with gradient."""

    logit: Tensor
    """z_y"""
    cosine: Tensor
    """c_y, the cosine of embedding and prototype"""
    scale: Tensor
    """σ with z_y = σ·c_y (+ bias): s, ‖x‖ or ‖W_y‖‖x‖"""
    norm: Tensor
    """‖x‖"""


class Others(NamedTuple):
    """The result of a reduction over the classes j != y."""

    logsumexp: Tensor
    """(N,) L = log Σ e^{z_j}, with gradient; -inf if there is no other class"""
    largest: Tensor
    """(N,) max z_j, detached"""
    counts: tuple[Tensor, ...]
    """for each threshold t, (N,) int64: the number of z_j > t, strictly"""


class ReductionConfig(Component):
    """Base class of the configs of reductions."""

    @property
    def classes_at_once(self) -> int | None:
        """The number of classes whose logits are in memory at the same time; None: all."""
        return None


class Reduction(ABC):
    """Base class of reductions: one pass over all classes but each sample's own."""

    sparse_own: ClassVar[bool] = True
    """whether the rows W_y in `Head.target` get a sparse gradient, so that the gradient of W is in memory only once"""

    @abstractmethod
    def __call__(self, a: Tensor, prototypes: Prototypes, y: Tensor, thresholds: Sequence[Tensor]) -> Others:
        """Reduce over the classes for operands a (N, D), at least float32.

        y: the class to leave out for each sample, int64 (N,); ignored outside of [0, C), if another process has it
        thresholds: detached tensors (N,)
        """


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast for the device of x."""
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
    """With a closed-form gradient, which needs half the passes over W of autograd."""

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
    """Set the logit of each sample's own class to -inf, in-place. first: the class of the first column.

    Masking is exact; subtracting e^{z_y} from the sum afterwards would cancel for well-trained samples. Differentiable,
    because logsumexp and max have gradient 0 at -inf.
    """
    return _MaskOwn.apply(logits, y, first)


class _MaskOwn(torch.autograd.Function):
    """In-place; scatter_ would fail for logits that are saved for the backward pass."""

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
    # with a single class, the gradient of logsumexp at -inf would be NaN
    return logits[:, 0] if logits.shape[1] == 1 else torch.logsumexp(logits, dim=1)


def count_above(logits: Tensor, threshold: Tensor, work: Tensor) -> Tensor:
    """(N,) the number of logits (N, C) strictly above each sample's threshold; `work` (N, C) is overwritten."""
    # sums of floats are much faster on a CPU than those of integers, and exact up to 2^24 classes
    return torch.gt(logits, threshold[:, None], out=work).sum(dim=1)


def finite(x: Tensor) -> Tensor:
    """x with 0 instead of -inf (from reductions over no classes), for the base of exponents."""
    return torch.where(x == -torch.inf, 0, x)
