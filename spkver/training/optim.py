"""Optimizers. Biases, norms' gains and other vectors get no weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from spkver.config import Component
from spkver.registry import Registry

OPTIMIZERS = Registry("optimizer", {"sgd": "spkver.training.optim:SGD", "adamw": "spkver.training.optim:AdamW"})


class SGDConfig(Component):
    """SGD with Nesterov momentum."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(1e-4, ge=0)


class SGD(torch.optim.SGD):
    """torch's, from a config."""

    Config = SGDConfig

    def __init__(self, config: SGDConfig, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(
            _groups(parameters, config.weight_decay),
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov and config.momentum > 0,
        )


class AdamWConfig(Component):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(1e-2, ge=0)


class AdamW(torch.optim.AdamW):
    """torch's, from a config."""

    Config = AdamWConfig

    def __init__(self, config: AdamWConfig, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(_groups(parameters, config.weight_decay), lr=config.lr, betas=config.betas)


def _groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict]:
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else vectors).append(parameter)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
