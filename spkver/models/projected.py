"""A network followed by an affine layer, for embeddings of fewer dimensions: `spkver export MODEL OUT --to model`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from spkver.config import Component, Of
from spkver.models import MODELS
from spkver.models.base import Network


class ProjectedConfig(Component):
    """A network, and the dimension of the projected embeddings."""

    name: Literal["projected"] = "projected"
    network: Annotated[Component, Of(MODELS)] = Field(default="xvector", validate_default=True)
    dim: int = Field(128, gt=0, description="dimension of the embedding")


class Projected(Network):
    """Network, affine layer.

    The layer is separate instead of multiplied into the last layer of the network, so it works with any last layer (a
    batch norm, an encoder of another package). It costs dim x dim multiplications per utterance.
    """

    Config = ProjectedConfig

    def __init__(self, config: ProjectedConfig, bins: int) -> None:
        super().__init__()
        self.config = config
        self.network: Network = MODELS.build(config.network, bins)
        self.projection = nn.Linear(self.network.dim, config.dim)
        self.dim, self.min_frames = config.dim, self.network.min_frames
        self.masked = self.network.masked
        self.whole_seconds = self.network.whole_seconds
        if self.network.resolved is not None:
            self.resolved = config.model_copy(update={"network": self.network.resolved})

    def stored(self) -> dict[str, Tensor]:
        """See Network.stored."""
        inner = {f"network.{name}": tensor for name, tensor in self.network.stored().items()}
        return {**inner, **self.projection.state_dict(prefix="projection.")}

    def stored_config(self) -> Component | None:
        """See Network.stored_config."""
        inner = self.network.stored_config()
        return None if inner is None else self.config.model_copy(update={"network": inner})

    def penalty(self, progress: float) -> Tensor | None:
        """See Network.penalty."""
        return self.network.penalty(progress)

    def forward(self, features: Tensor, **rows: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim); lengths and weights as in FrameNetwork."""
        return self.projection(self.network(features, **rows))
