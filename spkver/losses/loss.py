"""What every loss of a batch of embeddings shares: the call, the output, and the checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spkver.config import Component
from spkver.errors import InputError


class LossOutput(NamedTuple):
    """What a batch gave. Everything but the loss is detached; nothing here waits for the device."""

    loss: Tensor
    """scalar, with gradient"""
    per_sample: Tensor
    """(N,) the loss of each sample, before weights"""
    accuracy: Tensor
    """share of samples that no other class is nearer to than their own: no z_j > z_y"""
    margin_accuracy: Tensor
    """the same with the margin on every sample: no z_j > ψ"""
    selected_share: Tensor
    """share of samples that the selector picked for the margin"""
    target_cosine: Tensor | None = None
    """mean cosine to the own class; None where logits are no multiples of cosines (softmax, L-softmax)"""
    hardest_cosine: Tensor | None = None
    """mean of the largest cosine to another class"""

    def logged(self) -> dict[str, Tensor]:
        """The scalars by the names that the log has for them, without gradient."""
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
    """Base of the losses' configs."""

    @property
    def summary(self) -> str:
        """The loss and its margin in a few words, for the model's card."""
        return self.name


class Loss(nn.Module, ABC):
    """Base of the losses: `Loss(config, dim, classes, run)`, with the `schedules.Run` that its schedules count by."""

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor, progress: float = 1.0) -> LossOutput:
        """The loss of embeddings x (N, dim) with labels y (N,) int64, at a progress of the run in [0, 1].

        An embedding that is not finite, or whose norm is not, gives a NaN loss. Raises InputError for an empty batch
        and, where the labels are on the CPU, for labels out of range.
        """

    def moving(self, progress: float) -> dict[str, float]:
        """The numbers of the loss that its schedules move, by the names of the log."""
        return {}


def check_classes(classes: int) -> None:
    """Raises InputError for fewer than two classes: with one there is nothing to tell it from."""
    if classes < 2:
        raise InputError(f"a loss needs at least 2 speakers, got {classes}")


def check_batch(x: Tensor, y: Tensor, classes: int) -> None:
    """Refuse a batch without samples, or whose labels do not fit; labels on a GPU are not looked at.

    Raises InputError.
    """
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise InputError(f"a loss takes (N, dim) embeddings and (N,) labels, got {tuple(x.shape)} and {tuple(y.shape)}")
    if not len(x):
        raise InputError("a batch without samples has no loss")
    if y.device.type == "cpu":
        check_labels(y, classes)


def check_labels(y: Tensor, classes: int) -> None:
    """Refuse labels outside [0, classes). Meant for labels on the CPU: on a GPU it would wait for the device.

    Raises InputError naming the first such label.
    """
    wrong = y[(y < 0) | (y >= classes)]
    if len(wrong):
        raise InputError(f"label {int(wrong[0])} is out of range: the loss has {classes} classes, 0 to {classes - 1}")


def nan_where_not_finite(loss: Tensor, x: Tensor) -> Tensor:
    """The losses (N,) with NaN for each embedding of x (N, dim) that is not finite, or whose norm is not."""
    finite = torch.linalg.vector_norm(x.detach().to(loss.dtype), dim=1).isfinite()
    return torch.where(finite, loss, torch.nan)


def share(hits: Tensor) -> Tensor:
    """The mean of a mask or of weights, float32."""
    return hits.to(torch.float32).mean()
