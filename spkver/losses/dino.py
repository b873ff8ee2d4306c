"""DINO: the network learns without labels to give the outputs of the moving average of its weights, the teacher.

Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021; for speakers Cho et al.,
"Non-contrastive self-supervised learning of utterance-level speech representations", Interspeech 2022. Student s and
teacher t are network and projection; their outputs for a crop x are the cosines to K prototypes, which give

    p_s(x) = softmax(s(x) / τ_s)        p_t(x) = softmax((t(x) - c) / τ_t)        loss = -Σ_k p_t(x)_k · log p_s(x')_k

averaged over the pairs of two different crops x, x' of a recording, of which x is a long one. The centre c is a running
mean of t(x). It works against the collapse to one prototype, and a small τ_t against the collapse to equal shares.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from spkver.config import Config, Of
from spkver.losses.gathering import over_processes
from spkver.losses.loss import LossConfig, LossOutput, SelfTaught, check_batch, check_classes, nan_where_not_finite
from spkver.losses.reductions.base import full_precision, normalise
from spkver.schedules import SCHEDULES, Run, Schedule, ScheduleConfig


class ProjectionConfig(Config):
    """The projection from embeddings to outputs. It is trained with the network and is not part of the model."""

    hidden: int = Field(default=2048, gt=0)
    """size of the two hidden layers"""
    bottleneck: int = Field(default=256, gt=0)
    """size of the last hidden layer, whose values are length-normalised"""
    prototypes: int = Field(default=65536, gt=1)
    """number of outputs K"""


class Projection(nn.Module):
    """Three layers with batch norm and GELU, length normalisation, and the cosines to the prototypes."""

    def __init__(self, config: ProjectionConfig, dim: int) -> None:
        super().__init__()
        hidden = config.hidden
        self.layers = nn.Sequential(
            *(nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.GELU()),
            *(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.GELU()),
            nn.Linear(hidden, config.bottleneck),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Linear(config.bottleneck, config.prototypes, bias=False)

    def forward(self, x: Tensor, gradient: float = 1.0) -> Tensor:
        """Outputs (N, K) of embeddings (N, dim). gradient: factor on the gradient of the prototypes, 0 or 1."""
        weight = self.prototypes.weight
        # an exact 0 instead of no gradient, which DistributedDataParallel would wait for
        weight = weight if gradient else weight.detach() + 0 * weight
        return functional.linear(normalise(self.layers(x)), normalise(weight))


class DINOConfig(LossConfig):
    """Cross-entropy of the outputs of the network with those of the average of its weights, over crops of a recording.

    Needs `train.ema` and `data.utterances_per_speaker`; without labels, set `data.speakers: recordings`. Add
    `data.local` for short crops, which only the student gets. The saved model is the average, the teacher.
    """

    name: Literal["dino"] = "dino"
    temperature: float = Field(default=0.1, gt=0)
    """divides the outputs of the student"""
    teacher_temperature: Annotated[ScheduleConfig, Of(SCHEDULES)] = Field(
        default={"name": "constant", "value": 0.04}, validate_default=True
    )
    """divides the centred outputs of the teacher, over the run"""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """share of the centre that is kept at each batch"""
    frozen: float = Field(default=0.01, ge=0, le=1)
    """share of the run, from its start, in which the prototypes are not trained"""
    projection: ProjectionConfig = ProjectionConfig()

    @model_validator(mode="after")
    def _positive(self) -> DINOConfig:
        if min(self.teacher_temperature.values) <= 0:
            raise ValueError(f"teacher_temperature must stay above 0, got {min(self.teacher_temperature.values):g}")
        return self


class DINOOutput(LossOutput):
    """See LossOutput. accuracy: share of the pairs in which student and teacher have the same most likely prototype."""

    def logged(self) -> dict[str, Tensor]:
        """See LossOutput.logged."""
        values = super().logged()
        return {name: value for name, value in values.items() if name not in ("margin_accuracy", "boundary_share")}


class DINO(SelfTaught):
    """The loss of DINO."""

    Config = DINOConfig
    centre: Tensor

    def __init__(self, config: DINOConfig, dim: int, classes: int, run: Run | None = None) -> None:
        super().__init__()
        check_classes(classes)
        self.config, self.classes = config, classes
        self.teacher_temperature: Schedule = SCHEDULES.build(config.teacher_temperature, run)
        self.projection = Projection(config.projection, dim)
        self.register_buffer("centre", torch.zeros(config.projection.prototypes))

    def moving(self, progress: float) -> dict[str, float]:
        """See Loss.moving."""
        moves = self.teacher_temperature.moves
        return {"teacher_temperature": self.teacher_temperature.at(progress)} if moves else {}

    def forward(self, x: Tensor, y: Tensor, progress: float = 1.0, targets: Tensor | None = None) -> LossOutput:
        """See SelfTaught.forward. Pairs are samples of equal label."""
        check_batch(x, y, self.classes)
        with full_precision(x):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            student = self.projection(x, float(progress >= self.config.frozen))
            if targets is None:
                targets = student.detach()
            log_p = torch.log_softmax(student / self.config.temperature, dim=1)
            given = self._given(targets, progress)
            pairs = (y[: len(targets), None] == y) & ~torch.eye(len(targets), len(y), dtype=torch.bool, device=y.device)
            of_each, number = pairs.sum(dim=0), pairs.sum().clamp_min(1)
            sums = nan_where_not_finite(torch.where(pairs, -given @ log_p.T, 0).sum(dim=0), x)
            alike = given.argmax(dim=1)[:, None] == log_p.argmax(dim=1)
            if self.training:
                self._observe(targets)
            accuracy = (pairs & alike).sum() / number
            return DINOOutput(
                loss=sums.sum() / number,
                per_sample=sums.detach() / of_each.clamp_min(1),
                accuracy=accuracy,
                margin_accuracy=accuracy,
                selected_share=(of_each > 0).float().mean(),
            )

    @torch.no_grad()
    def describe(self, targets: Tensor, progress: float) -> dict[str, Tensor]:
        """See SelfTaught.describe: the mean entropy of p_t, and the entropy of the mean of p_t, in nats.

        Both are equal after a collapse to the same p_t for all crops, and ln K if that has equal shares.
        """
        given = self._given(targets, progress)
        return {
            "teacher_entropy": torch.special.entr(given).sum(dim=1).mean(),
            "batch_entropy": torch.special.entr(_mean(given)).sum(),
        }

    def _given(self, targets: Tensor, progress: float) -> Tensor:
        """p_t (T, K)."""
        return torch.softmax((targets - self.centre) / self.teacher_temperature.at(progress), dim=1)

    @torch.no_grad()
    def _observe(self, targets: Tensor) -> None:
        """Update the centre with the mean over the batch of all processes."""
        self.centre.lerp_(_mean(targets).to(self.centre.dtype), 1 - self.config.momentum)


def _mean(values: Tensor) -> Tensor:
    """The mean (K,) of values (N, K) of all processes."""
    return over_processes(values.mean(dim=0, keepdim=True)).mean(dim=0)
