"""A pooling and an affine layer, the smallest network for frames of a self-supervised encoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from spkver.config import Component, Of
from spkver.models import POOLINGS
from spkver.models.base import FrameNetwork, Pooling


class PooledConfig(Component):
    """Pooling and affine layer on frames of a self-supervised encoder, see `ssl`."""

    name: Literal["pooled"] = "pooled"
    dim: int = Field(256, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(default="attentive_statistics", validate_default=True)


class Pooled(FrameNetwork):
    """Pooling, batch norm, affine embedding."""

    Config = PooledConfig
    min_frames = 1
    masked = True

    def __init__(self, config: PooledConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        self.pooling: Pooling = POOLINGS.build(config.pooling, bins)
        self.norm = nn.BatchNorm1d(self.pooling.size)
        self.linear = nn.Linear(self.pooling.size, config.dim)

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        return features.transpose(1, 2)

    def embedding(self, pooled: Tensor) -> Tensor:
        """See FrameNetwork.embedding."""
        return self.linear(self.norm(pooled))
