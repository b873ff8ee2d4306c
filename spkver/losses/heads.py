"""Heads: the class weights W (one or several prototypes per speaker), and the two steps in which losses use them.

1. `target(x, y)`: the own logit z_y of each sample, with its cosine and scale, and with gradient to x and W_y.
2. `others(x, y, thresholds)`: one pass over the classes j != y: L = logsumexp of z_j, the largest z_j, and for each
   threshold the number of z_j above it.

A head defines z_j = a·p_j + b_j, with an operand a computed from the embedding and a prototype p_j from W_j. The pass
is computed by a reduction, over the classes selected by `split` and `sample` (see spkver.losses.reductions). A loss
never gets the (N, C) logits; if it needs more, it makes its own pass over `operands`.

Both steps are computed in float32 or float64, regardless of autocast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from spkver.config import Component, Of
from spkver.errors import InputError
from spkver.losses import REDUCTIONS
from spkver.losses.loss import Loss, check_classes
from spkver.losses.reductions.base import (
    NORM_FLOOR,
    Others,
    Prototypes,
    Reduction,
    ReductionConfig,
    Target,
    full_precision,
    normalise,
    widen,
)
from spkver.losses.reductions.dense import all_logits
from spkver.losses.reductions.sample import Sample, SampleConfig, position
from spkver.losses.reductions.split import SHARD, Split, cut_rows


class HeadConfig(Component):
    """Base class of the configs of heads."""

    reduction: Annotated[ReductionConfig, Of(REDUCTIONS)] = Field(default="dense", validate_default=True)
    """how the pass over the classes is computed"""
    split: bool = False
    """divide the classes over the processes of torch.distributed"""
    sample: SampleConfig | None = None
    """use a random share of the classes in each training step"""

    angular: ClassVar[bool] = True
    """whether z_j is a multiple of the cosine to W_j"""

    @property
    def whole(self) -> bool:
        """Whether every process uses all classes in every step."""
        return not self.split and self.sample is None

    @property
    def scale(self) -> float | None:
        """s if z_j = s·c_j; None if the scale depends on the embedding."""
        return None

    @property
    def biased(self) -> bool:
        """Whether a bias is added to the logits."""
        return False


class Head(nn.Module, ABC):
    """Base class of heads, with the weight (C·K, dim); class c has the rows c·K to c·K + K - 1.

    Initial rows have length 1 on average. With `split`, the head has the rows of this process's classes, and its state
    says which; it can also load the state of all classes. Raises InputError for fewer than two classes.

    The argument `factor`, from the schedule of the scale, multiplies σ and every a·p_j, but not the bias.
    """

    unit: ClassVar[bool]
    """whether p_j is W_j / ‖W_j‖, or W_j"""
    bias: Tensor | None
    """b (C·K,), or None"""

    def __init__(self, config: HeadConfig, dim: int, classes: int, centres: int = 1) -> None:
        super().__init__()
        check_classes(classes)
        self.classes = classes
        self.centres = centres
        self.reduction: Reduction = REDUCTIONS.build(config.reduction)
        self.split = Split(classes) if config.split else None
        self.held = self.split.held if self.split else range(classes)
        self.sample = Sample(config.sample, self.held) if config.sample else None
        self.weight = nn.Parameter(_draw_rows(self.held, classes, self.centres, dim))
        self.register_parameter("bias", None)
        if self.split:
            self.register_buffer(SHARD, torch.tensor([self.held.start, self.held.stop, classes]))

    @abstractmethod
    def operand(self, x: Tensor) -> Tensor:
        """a (N, dim) of embeddings x (N, dim)."""

    @abstractmethod
    def own(self, x: Tensor, w: Tensor) -> Target:
        """The Target, of shape (N, K) and without bias, of embeddings x (N, dim) and rows w (N, K, dim) of W."""

    def target(self, x: Tensor, y: Tensor, factor: float = 1.0) -> Target:
        """The own logits of embeddings x (N, dim) with labels y (N,) int64 in [0, C).

        Call it with gradient after `others`: the backward pass runs in reverse order, and can then add the gradient of
        all rows of W to that of a few in-place. Otherwise a streaming reduction needs a second copy of the gradient.
        """
        with full_precision(x):
            x, _ = widen(x, self.weight)
            read = partial(self._target, factor=factor)
            return self.split.target(read, x, y) if self.split else read(x, y)

    def others(self, x: Tensor, y: Tensor, thresholds: Sequence[Tensor] = (), factor: float = 1.0) -> Others:
        """Reduce over the classes other than y; thresholds are detached tensors of shape (N,)."""
        with full_precision(x):
            x, _ = widen(x, self.weight)
            read = partial(self._others, factor=factor)
            return self.split.others(read, x, y, thresholds) if self.split else read(x, y, thresholds)

    def logits(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """All logits z (N, C), of the classes of this process."""
        with full_precision(x):
            return all_logits(*self.operands(x, factor))

    def operands(self, x: Tensor, factor: float = 1.0) -> tuple[Tensor, Prototypes]:
        """The operands a (N, dim), at least float32, and the prototypes of this process's classes."""
        with full_precision(x):
            return factor * self.operand(widen(x, self.weight)[0]), self._prototypes()

    def mean_cosines(self, target: Target, largest: Tensor) -> dict[str, Tensor]:
        """The means of c_y and of the largest c_j = z_j / σ, if the head has the same σ for all classes."""
        if not self.unit:
            return {}
        rival = largest / target.scale.detach().clamp_min(NORM_FLOOR)
        return {"target_cosine": target.cosine.detach().mean(), "hardest_cosine": rival.mean()}

    def _target(self, x: Tensor, y: Tensor, factor: float) -> Target:
        rows = y[:, None] * self.centres + torch.arange(self.centres, device=y.device)
        w = functional.embedding(rows, self.weight, sparse=self.reduction.sparse_own).to(x.dtype)
        logit, cosine, scale, norm = self.own(x, w)
        logit, scale = factor * logit, factor * scale
        if self.bias is not None:
            logit = logit + self.bias[rows]
        nearest = logit.detach().argmax(dim=1, keepdim=True)
        return Target(*(value.gather(1, nearest).squeeze(1) for value in (logit, cosine, scale, norm)))

    def _others(self, x: Tensor, y: Tensor, thresholds: Sequence[Tensor], factor: float) -> Others:
        prototypes = self._prototypes()
        if self.sample and self.training:
            drawn = self.sample(y)
            prototypes, y = prototypes.of(drawn), position(y, drawn, prototypes.classes)
        return self.reduce(x, prototypes, y, thresholds, factor)

    def reduce(
        self, x: Tensor, prototypes: Prototypes, y: Tensor, thresholds: Sequence[Tensor], factor: float
    ) -> Others:
        """Reduce over the classes of the prototypes; see Reduction.__call__."""
        return self.reduction(factor * self.operand(x), prototypes, y, thresholds)

    def _prototypes(self) -> Prototypes:
        return Prototypes(self.weight, self.bias, self.unit, self.centres)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """As in nn.Module, but a split head takes its part of the state of all classes, and refuses other parts."""
        if self.split:
            own, key = self.get_buffer(SHARD), prefix + SHARD
            if key not in state:
                names = [prefix + name for name, _ in self.named_parameters(recurse=False)]
                state.update({name: cut_rows(state[name], own) for name in names if name in state}, **{key: own})
            elif state[key].tolist() != own.tolist():
                first, stop, classes = state[key].tolist()
                raise InputError(
                    f"{prefix}weight: has the speakers {first} to {stop - 1} of {classes}, but this process needs "
                    f"{self.held.start} to {self.held.stop - 1} of {self.classes}; join the parts first"
                )
        super()._load_from_state_dict(state, prefix, *rest)


class HeadLoss(Loss):
    """Base class of losses with class weights."""

    head: Head


def _draw_rows(held: range, classes: int, centres: int, dim: int, block: int = 1 << 16) -> Tensor:
    """Initial weights of this process's classes: the same as a single process draws for all classes."""
    kept = torch.empty(len(held) * centres, dim)
    if len(held) == classes:
        return nn.init.normal_(kept, std=dim**-0.5)
    for start in range(0, classes, block):
        rows = nn.init.normal_(torch.empty(min(block, classes - start), centres, dim), std=dim**-0.5)
        inside = range(max(held.start, start), min(held.stop, start + block))
        if inside:
            kept.unflatten(0, (-1, centres))[inside.start - held.start : inside.stop - held.start] = rows[
                inside.start - start : inside.stop - start
            ]
    return kept


class LinearConfig(HeadConfig):
    """z_j = W_j·x + b_j, as in softmax and, without bias, L-softmax."""

    name: Literal["linear"] = "linear"
    bias: bool = True
    """add a bias b_j; must be false with a margin"""

    @property
    def biased(self) -> bool:
        """See HeadConfig.biased."""
        return self.bias


class Linear(Head):
    """The head of softmax: z_j = W_j·x + b_j, with scale ‖W_j‖‖x‖.

    The bias is part of the logit, but not of scale and cosine.
    """

    Config = LinearConfig
    unit = False

    def __init__(self, config: LinearConfig, dim: int, classes: int) -> None:
        super().__init__(config, dim, classes)
        if config.bias:
            self.bias = nn.Parameter(torch.zeros(len(self.held)))

    def operand(self, x: Tensor) -> Tensor:
        """See Head.operand."""
        return x

    def own(self, x: Tensor, w: Tensor) -> Target:
        """See Head.own."""
        logit, norm = (x[:, None] * w).sum(dim=2), _norm(x, w)
        return Target(logit, _cosine(x, w), norm * torch.linalg.vector_norm(w, dim=2), norm)


class UnitConfig(HeadConfig):
    """z_j = ‖x‖·c_j, as in A-softmax."""

    name: Literal["unit"] = "unit"


class Unit(Head):
    """The head of A-softmax: z_j = ‖x‖·cos(W_j, x), without bias."""

    Config = UnitConfig
    unit = True

    def operand(self, x: Tensor) -> Tensor:
        """See Head.operand."""
        return x

    def own(self, x: Tensor, w: Tensor) -> Target:
        """See Head.own."""
        cosine, norm = _cosine(x, w), _norm(x, w)
        return Target(norm * cosine, cosine, norm, norm)


class NormalisedConfig(HeadConfig):
    """z_j = s·c_j, as in NSL, LMCL and AAM. With `centres: K`, c_j is the largest cosine to K prototypes of a speaker.

    With sub-centres (Deng et al., ECCV 2020), some prototypes of a speaker can collect wrongly labelled utterances.
    """

    name: Literal["normalised"] = "normalised"
    s: float = Field(default=30.0, gt=0)
    """the scale of the cosines: 10 to 20 for up to 1,500 speakers, 30 for thousands"""
    centres: int = Field(default=1, ge=1)
    """number of prototypes per speaker"""

    @property
    def scale(self) -> float:
        """See HeadConfig.scale."""
        return self.s


class Normalised(Head):
    """The cosine head of NSL, LMCL and AAM: z_j = s·cos(W_j, x)."""

    Config = NormalisedConfig
    unit = True

    def __init__(self, config: NormalisedConfig, dim: int, classes: int) -> None:
        super().__init__(config, dim, classes, config.centres)
        self.s = config.s

    def operand(self, x: Tensor) -> Tensor:
        """See Head.operand."""
        return self.s * normalise(x)

    def own(self, x: Tensor, w: Tensor) -> Target:
        """See Head.own."""
        cosine = _cosine(x, w)
        return Target(self.s * cosine, cosine, torch.full_like(cosine, self.s), _norm(x, w))


def _cosine(x: Tensor, w: Tensor) -> Tensor:
    """(N, K) cosines of x (N, dim) to w (N, K, dim)."""
    return (normalise(x)[:, None] * normalise(w)).sum(dim=2)


def _norm(x: Tensor, w: Tensor) -> Tensor:
    """(N, K) norms of x (N, dim), the same for all K rows of w (N, K, dim)."""
    return torch.linalg.vector_norm(x, dim=1, keepdim=True).expand(w.shape[:2])
