"""TitaNet (Koluguri et al., ICASSP 2022): separable convolutions over time with squeeze and excitation."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, Of
from spkver.models import POOLINGS
from spkver.models.base import FrameNetwork, Pooling

EPSILON = 1e-3  # of the batch norms of the encoder


class TitaNetConfig(Component):
    """The defaults are NeMo's TitaNet-L; TitaNet-S has 256 channels."""

    name: Literal["titanet"] = "titanet"
    channels: int = Field(1024, gt=0, description="channels of all blocks except the last")
    out: int = Field(3072, gt=0, description="channels of the last block, before pooling")
    kernels: tuple[int, ...] = Field(
        (3, 7, 11, 15, 1),
        min_length=2,
        description="kernel size of each block, odd; the blocks between the first and the last are residual",
    )
    repeat: int = Field(3, gt=0, description="convolutions in a residual block")
    reduction: int = Field(8, gt=0, description="reduction of the channels inside squeeze and excitation")
    dim: int = Field(192, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(
        default={
            "name": "attentive_statistics",
            "context": True,
            "activation": "relu_norm_tanh",
            "floor": 1e-10,
        },
        validate_default=True,
    )


def _separable(before: int, after: int, kernel: int) -> list[nn.Module]:
    return [
        nn.Conv1d(before, before, kernel, padding=kernel // 2, groups=before, bias=False),
        nn.Conv1d(before, after, 1, bias=False),
        nn.BatchNorm1d(after, EPSILON),
    ]


class Gate(nn.Module):
    """Squeeze and excitation over time."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.fc = nn.Sequential(nn.Linear(channels, hidden, bias=False), nn.ReLU())
        self.fc.append(nn.Linear(hidden, channels, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to the same."""
        return x * torch.sigmoid(self.fc(x.mean(dim=-1)))[..., None]


class Block(nn.Module):
    """Separable convolutions with batch norm and ReLU, the last one with the gate before it; a shortcut."""

    def __init__(self, before: int, after: int, kernel: int, repeat: int, reduction: int, *, residual: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(repeat):
            layers += _separable(after if number else before, after, kernel)
            if number + 1 < repeat:
                layers.append(nn.ReLU())
        self.convolutions = nn.Sequential(*layers)
        self.gate = Gate(after, reduction)
        self.shortcut = None
        if residual:
            self.shortcut = nn.Sequential(nn.Conv1d(before, after, 1, bias=False), nn.BatchNorm1d(after, EPSILON))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, frames) to (batch, after, frames)."""
        out = self.gate(self.convolutions(x))
        return F.relu(out if self.shortcut is None else out + self.shortcut(x))


class TitaNet(FrameNetwork):
    """Blocks, attentive pooling, batch norm, affine embedding."""

    Config = TitaNetConfig
    min_frames = 2  # the front end divides by the deviation over time

    def __init__(self, config: TitaNetConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        self.blocks = nn.ModuleList()
        before, last = bins, len(config.kernels) - 1
        for number, kernel in enumerate(config.kernels):
            after, inside = config.out if number == last else config.channels, 0 < number < last
            repeat = config.repeat if inside else 1
            self.blocks.append(Block(before, after, kernel, repeat, config.reduction, residual=inside))
            before = after
        self.pooling: Pooling = POOLINGS.build(config.pooling, before)
        self.pooling_norm = nn.BatchNorm1d(self.pooling.size)
        self.linear = nn.Linear(self.pooling.size, config.dim)

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        x = features.transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return x

    def embedding(self, pooled: Tensor) -> Tensor:
        """See FrameNetwork.embedding."""
        return self.linear(self.pooling_norm(pooled))
