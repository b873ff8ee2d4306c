"""Any network with an affine map after it: embeddings of fewer dimensions, `spkver export MODEL OUT --to model`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from spkver.config import Component, component
from spkver.models import MODELS


class ProjectedConfig(Component):
    """The network, and the dimension that its embeddings are brought to."""

    name: Literal["projected"] = "projected"
    network: component(MODELS) = Field(default="xvector")  # type: ignore[valid-type]
    dim: int = Field(128, gt=0, description="of the embedding")


class Projected(nn.Module):
    """Network, affine layer.

    A layer of its own, not multiplied into the network's last: so it is behind whatever that is (a batch norm, an
    encoder of another package), for dim x dim multiplications an utterance.
    """

    Config = ProjectedConfig

    def __init__(self, config: ProjectedConfig, bins: int) -> None:
        super().__init__()
        self.network: Any = MODELS.build(config.network, bins)
        self.projection = nn.Linear(int(self.network.dim), config.dim)
        self.dim, self.min_frames = config.dim, int(self.network.min_frames)
        # what only some networks say of themselves
        if (seconds := getattr(self.network, "whole_seconds", None)) is not None:
            self.whole_seconds = seconds
        if (inner := getattr(self.network, "resolved", None)) is not None:
            self.resolved = config.model_copy(update={"network": inner})

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""
        return self.projection(self.network(features))
