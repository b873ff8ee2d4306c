"""The head of hyperbolic additive margin softmax (Fang and He, 2026, arXiv 2601.19709): distances in the Poincaré ball.

    z_j = -s·d(x, W_j),   cosh d(x, w) = 1 + 2u,   u = ‖x - w‖² / ((1 - ‖x‖²)(1 - ‖w‖²))

Embeddings and prototypes beyond the ball are projected to its border, as in WeSpeaker. In place of a cosine, `Target`
has -d, so the margin of LMCL gives the paper's own logit, -s·(d + m). Another curvature c of the ball is the same as
s / √c and m·√c with embeddings √c times as long.

No tensor (N, C, D) is needed: with lifted operands and prototypes, u is a matrix product, and z_j a function of it:

    a = α·(2x, -‖x‖², -1),   p_j = β_j·(W_j, 1, ‖W_j‖²),   -u = a·p_j,   α = 1 / (1 - ‖x‖²),   β_j likewise
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.autograd.function import once_differentiable

from spkver.losses.heads import Head, HeadConfig
from spkver.losses.reductions.base import NORM_FLOOR, Others, Prototypes, Target
from spkver.losses.reductions.passes import over_classes

LARGEST_NORM = 1 - 1e-5
"""norm of points on the border and beyond after projection, as in WeSpeaker"""
SMALLEST_U = 5e-6
"""lower limit of u, with gradient 0 below it, because the derivative of the distance is infinite at 0"""
INITIAL_NORM = 1e-3
"""norm of an initial prototype per square root of its dimension: all near the centre of the ball"""


class HyperbolicConfig(HeadConfig):
    """z_j = -s·d(x, W_j), with the distance in the Poincaré ball. Takes margins without angles: none, lmcl.

    The reduction must be `dense` or `chunked`. SGD needs a learning rate of some 0.01, a tenth of the default.
    """

    name: Literal["hyperbolic"] = "hyperbolic"
    angular: ClassVar[bool] = False
    s: float = Field(default=30.0, gt=0)
    """the scale of the distances"""

    @model_validator(mode="after")
    def _reduction_fits(self) -> HyperbolicConfig:
        if self.reduction.name not in ("dense", "chunked"):
            raise ValueError(
                f"head '{self.name}' has no inner products; set reduction to dense or chunked, not "
                f"'{self.reduction.name}'"
            )
        return self


class Hyperbolic(Head):
    """See the module."""

    Config = HyperbolicConfig
    unit = False

    def __init__(self, config: HyperbolicConfig, dim: int, classes: int) -> None:
        super().__init__(config, dim, classes)
        self.s = config.s
        self.chunk = config.reduction.classes_at_once
        with torch.no_grad():
            self.weight.mul_(INITIAL_NORM * dim**0.5)

    def operand(self, x: Tensor) -> Tensor:
        """See Head.operand: (N, D + 2) lifted operands."""
        point, square, factor = _projected(x)
        return factor * torch.cat([2 * point, -square, -torch.ones_like(square)], dim=1)

    def own(self, x: Tensor, w: Tensor) -> Target:
        """See Head.own."""
        (x_point, _, alpha), (w_point, _, beta) = _projected(x[:, None]), _projected(w)
        u = (alpha * beta * (x_point - w_point).square()).sum(dim=2)
        cosine = -_distance(u)
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True).expand_as(cosine)
        return Target(self.s * cosine, cosine, torch.full_like(cosine, self.s), norm)

    def logits(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """See Head.logits."""
        return self._logits(factor)(*self.operands(x))

    def reduce(
        self, x: Tensor, prototypes: Prototypes, y: Tensor, thresholds: Sequence[Tensor], factor: float
    ) -> Others:
        """See Head.reduce."""
        return over_classes(self._logits(factor), self.operand(x), prototypes, y, thresholds, self.chunk)

    def _logits(self, factor: float) -> Callable[[Tensor, Prototypes], Tensor]:
        """z (N, classes) of lifted operands (N, D + 2) and prototypes."""

        def of(a: Tensor, prototypes: Prototypes) -> Tensor:
            point, square, beta = _projected(prototypes.weight.to(a.dtype))
            lifted = beta * torch.cat([point, torch.ones_like(square), square], dim=1)
            return -factor * self.s * _distance(-(a @ lifted.T))

        return of


def _projected(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points p = x in the ball (..., D), ‖p‖² and 1 / (1 - ‖p‖²), both (..., 1)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    point = x * (LARGEST_NORM / norm.clamp_min(NORM_FLOOR)).clamp(max=1)
    radius = norm.clamp(max=LARGEST_NORM)  # not the norm of p, whose rounding 1 - ‖p‖² would magnify
    return point, radius.square(), 1 / ((1 - radius) * (1 + radius))


class _Distance(torch.autograd.Function):
    """arcosh(1 + 2u) = 2·arsinh(√u), which is exact for small u."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return 2 * u.clamp(min=SMALLEST_U).sqrt().asinh()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return gradient * torch.where(u < SMALLEST_U, 0, (u * (1 + u)).rsqrt())


def _distance(u: Tensor) -> Tensor:
    return _Distance.apply(u)
