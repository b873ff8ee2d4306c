"""The x-vector network (Snyder et al., ICASSP 2018, table 1) and its extended form (ICASSP 2019, table 2)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from spkver.config import Component, component
from spkver.models import POOLINGS

# kernel and dilation of the frame layers; the last one gives pooled_channels
CONTEXTS = {
    "tdnn": ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1)),
    "extended": ((5, 1), (1, 1), (3, 2), (1, 1), (3, 3), (1, 1), (3, 4), (1, 1), (1, 1), (1, 1)),
}


class XVectorConfig(Component):
    """Time-delay layers, pooling, and the affine layer that gives the embedding."""

    name: Literal["xvector"] = "xvector"
    frame_layers: Literal["tdnn", "extended"] = Field("tdnn", description="five, or the extended TDNN's ten")
    channels: int = Field(512, gt=0)
    pooled_channels: int = Field(1500, gt=0, description="of the last frame layer, before pooling")
    dim: int = Field(512, gt=0, description="of the embedding")
    pooling: component(POOLINGS) = Field(default="statistics")  # type: ignore[valid-type]
    layers_after_pooling: Literal[1, 2] = Field(1, description="2: the paper's segment6, ReLU, segment7")


class XVector(nn.Module):
    """Frame layers are affine, ReLU, batch norm; the embedding is affine and batch norm, no ReLU."""

    Config = XVectorConfig

    def __init__(self, config: XVectorConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        contexts = CONTEXTS[config.frame_layers]
        self.min_frames = 1 + sum((kernel - 1) * dilation for kernel, dilation in contexts)  # nothing is padded
        sizes = [bins, *[config.channels] * (len(contexts) - 1), config.pooled_channels]
        layers: list[nn.Module] = []
        for before, after, (kernel, dilation) in zip(sizes, sizes[1:], contexts):
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
