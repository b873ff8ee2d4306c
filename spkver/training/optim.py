"""Optimizers. Weight decay does not apply to biases, gains of norms and other vectors.

They are built from parameters with factors on the learning rate; the factor is stored in the group as `factor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from spkver.config import Component
from spkver.registry import Registry

OPTIMIZERS = Registry(
    "optimizer",
    {
        "sgd": "spkver.training.optim:SGD",
        "adamw": "spkver.training.optim:AdamW",
    },
)

Scaled = tuple[nn.Parameter, float]
"""A parameter and the factor on its learning rate."""


class OptimizerConfig(Component):
    """Base class of the configs of optimizers."""

    lr: float = Field(gt=0)
    """peak learning rate, see train.lr_schedule"""


class SGDConfig(OptimizerConfig):
    """SGD with Nesterov momentum."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(0.1, gt=0)
    """peak learning rate, see train.lr_schedule"""
    momentum: float = Field(0.9, ge=0, lt=1)
    """momentum factor"""
    nesterov: bool = True
    """use Nesterov momentum"""
    weight_decay: float = Field(1e-4, ge=0)
    """for matrices and kernels, not for biases and norms"""


class SGD(torch.optim.SGD):
    """PyTorch's implementation, with parameter groups."""

    Config = SGDConfig

    def __init__(self, config: SGDConfig, parameters: Sequence[Scaled]) -> None:
        groups = parameter_groups(parameters, config.weight_decay)
        super().__init__(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov and config.momentum > 0,
            fused=_on_gpu(groups),
        )


class AdamWConfig(OptimizerConfig):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    """peak learning rate, see train.lr_schedule"""
    betas: tuple[float, float] = (0.9, 0.999)
    """decay rates of the running means of the gradient and its square"""
    weight_decay: float = Field(1e-2, ge=0)
    """for matrices and kernels, not for biases and norms"""


class AdamW(torch.optim.AdamW):
    """PyTorch's implementation, with parameter groups."""

    Config = AdamWConfig

    def __init__(self, config: AdamWConfig, parameters: Sequence[Scaled]) -> None:
        groups = parameter_groups(parameters, config.weight_decay)
        super().__init__(groups, lr=config.lr, betas=config.betas, fused=_on_gpu(groups))


def parameter_groups(parameters: Sequence[Scaled], weight_decay: float) -> list[dict]:
    """Groups of trainable parameters with the same factor and weight decay."""
    groups = [
        {
            "params": [
                one for one, own in parameters if own == factor and (one.ndim > 1) == decays and one.requires_grad
            ],
            "weight_decay": weight_decay if decays else 0.0,
            "factor": factor,
        }
        for factor in dict.fromkeys(factor for _, factor in parameters)
        for decays in (True, False)
    ]
    return [group for group in groups if group["params"]]


def _on_gpu(groups: list[dict]) -> bool:
    """Whether a fused optimizer can be used, which can also skip a step without waiting."""
    return all(parameter.is_cuda for group in groups for parameter in group["params"])
