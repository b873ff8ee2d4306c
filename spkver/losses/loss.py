"""The interface of losses of a batch of embeddings, and shared checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spkver.config import Component
from spkver.errors import InputError


class LossOutput(NamedTuple):
    """The loss of a batch and statistics. All but the loss is detached; nothing waits for the device."""

    loss: Tensor
    """scalar, with gradient"""
    per_sample: Tensor
    """(N,) the loss of each sample, before weights"""
    accuracy: Tensor
    """share of samples with no z_j > z_y: no other class is nearer than their own"""
    margin_accuracy: Tensor
    """the same with the margin on every sample: no z_j > ψ"""
    selected_share: Tensor
    """share of samples that the selector selected"""
    target_cosine: Tensor | None = None
    """mean cosine to the own class; None if logits are not multiples of cosines (softmax, L-softmax)"""
    hardest_cosine: Tensor | None = None
    """mean of the largest cosine to another class"""

    def logged(self) -> dict[str, Tensor]:
        """The scalars to log, by name, without gradient."""
        values = {
            "loss": self.loss.detach(),
            "accuracy": self.accuracy,
            "margin_accuracy": self.margin_accuracy,
            "boundary_share": self.selected_share,
            "target_cosine": self.target_cosine,
            "hardest_cosine": self.hardest_cosine,
        }
        return {name: value for name, value in values.items() if value is not None}


class LossConfig(Component):
    """Base class of the configs of losses."""

    @property
    def summary(self) -> str:
        """The loss and its margin in a few words, for the model card."""
        return self.name


class Loss(nn.Module, ABC):
    """Base class of losses: `Loss(config, dim, classes, run)`. run: the `schedules.Run` for its schedules."""

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor, progress: float = 1.0) -> LossOutput:
        """The loss of embeddings x (N, dim) with labels y (N,) int64, at a progress of the run in [0, 1].

        An embedding that is not finite, or whose norm is not, gives NaN. Raises InputError for an empty batch, and for
        labels out of range if they are on the CPU.
        """

    def moving(self, progress: float) -> dict[str, float]:
        """The values that schedules change over the run, by their names in the log."""
        return {}


class SelfTaught(Loss):
    """Base class of losses whose targets are outputs of the moving average of the weights, the teacher."""

    projection: nn.Module
    """embeddings (N, dim) to outputs (N, ...)"""

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor, progress: float = 1.0, targets: Tensor | None = None) -> LossOutput:
        """See Loss.forward. targets: the teacher's outputs for the first embeddings; None: the own outputs."""

    @abstractmethod
    def describe(self, targets: Tensor, progress: float) -> dict[str, Tensor]:
        """Scalars to log about the teacher's outputs, which show a collapse, by name. Call it before `forward`."""


def check_classes(classes: int) -> None:
    """Raise InputError for fewer than two classes."""
    if classes < 2:
        raise InputError(f"a loss needs at least 2 speakers, got {classes}")


def check_batch(x: Tensor, y: Tensor, classes: int) -> None:
    """Raise InputError for an empty batch, and for labels that do not match it. Labels on a GPU are not read."""
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise InputError(f"a loss takes (N, dim) embeddings and (N,) labels, got {tuple(x.shape)} and {tuple(y.shape)}")
    if not len(x):
        raise InputError("an empty batch has no loss")
    if y.device.type == "cpu":
        check_labels(y, classes)


def check_labels(y: Tensor, classes: int) -> None:
    """Raise InputError naming the first label outside [0, classes). For labels on the CPU; on a GPU it would wait."""
    wrong = y[(y < 0) | (y >= classes)]
    if len(wrong):
        raise InputError(f"label {int(wrong[0])} is out of range: the loss has {classes} classes, 0 to {classes - 1}")


def nan_where_not_finite(loss: Tensor, x: Tensor) -> Tensor:
    """The losses (N,) with NaN for each embedding of x (N, dim) that is not finite, or whose norm is not."""
    finite = torch.linalg.vector_norm(x.detach().to(loss.dtype), dim=1).isfinite()
    return torch.where(finite, loss, torch.nan)


def share(hits: Tensor) -> Tensor:
    """The mean of a mask or of weights, in float32."""
    return hits.to(torch.float32).mean()
