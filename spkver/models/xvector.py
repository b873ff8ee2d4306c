"""The x-vector network (Snyder et al., ICASSP 2018, table 1)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from spkver.config import Component, component
from spkver.models import POOLINGS

CONTEXTS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))  # kernel and dilation of frame1 to frame5


class XVectorConfig(Component):
    """Five time-delay layers, pooling, and the affine layer that gives the embedding."""

    name: Literal["xvector"] = "xvector"
    channels: int = Field(512, gt=0)
    pooled_channels: int = Field(1500, gt=0, description="of frame5, before pooling")
    dim: int = Field(512, gt=0, description="of the embedding")
    pooling: component(POOLINGS) = Field(default="statistics")  # type: ignore[valid-type]
    layers_after_pooling: Literal[1, 2] = Field(1, description="2: the paper's segment6, ReLU, segment7")


class XVector(nn.Module):
    """Frame layers are affine, ReLU, batch norm; the embedding is affine and batch norm, no ReLU."""

    Config = XVectorConfig
    min_frames = 1 + sum((kernel - 1) * dilation for kernel, dilation in CONTEXTS)

    def __init__(self, config: XVectorConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        sizes = [bins, *[config.channels] * 4, config.pooled_channels]
        layers: list[nn.Module] = []
        for before, after, (kernel, dilation) in zip(sizes, sizes[1:], CONTEXTS):
            layers += [nn.Conv1d(before, after, kernel, dilation=dilation), nn.ReLU(), nn.BatchNorm1d(after)]
        self.frame = nn.Sequential(*layers)
        self.pooling: Any = POOLINGS.build(config.pooling, config.pooled_channels)
        segment: list[nn.Module] = [nn.Linear(self.pooling.size, config.dim), nn.BatchNorm1d(config.dim)]
        if config.layers_after_pooling == 2:
            segment += [nn.ReLU(), nn.Linear(config.dim, config.dim), nn.BatchNorm1d(config.dim)]
        self.segment = nn.Sequential(*segment)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""
        return self.segment(self.pooling(self.frame(features.transpose(1, 2))))
