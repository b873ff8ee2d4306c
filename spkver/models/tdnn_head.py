"""The x-vector head of transformers (WavLMForXVector, Wav2Vec2ForXVector) on frames of a self-supervised encoder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from spkver.config import Component
from spkver.models.base import Network
from spkver.models.pooling import statistics


class TdnnHeadConfig(Component):
    """The defaults are those of microsoft/wavlm-base-plus-sv. For use as the network of `ssl`."""

    name: Literal["tdnn_head"] = "tdnn_head"
    channels: tuple[int, ...] = Field((512, 512, 512, 512, 1500), description="channels of the layers")
    kernels: tuple[int, ...] = Field((5, 3, 3, 1, 1), description="kernel sizes of the layers")
    dilations: tuple[int, ...] = Field((1, 2, 3, 1, 1), description="dilations of the layers")
    dim: int = Field(512, gt=0, description="dimension of the embedding")

    @model_validator(mode="after")
    def _as_many(self) -> TdnnHeadConfig:
        if not len(self.channels) == len(self.kernels) == len(self.dilations) > 0:
            raise ValueError("channels, kernels and dilations must have equally many values")
        return self


class TdnnHead(Network):
    """Affine layer, time-delay layers with ReLU, mean and standard deviation, affine embedding."""

    Config = TdnnHeadConfig

    def __init__(self, config: TdnnHeadConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        self.min_frames = 1 + sum((kernel - 1) * step for kernel, step in zip(config.kernels, config.dilations))
        self.projector = nn.Linear(bins, config.channels[0])
        before, layers = config.channels[0], []
        for after, kernel, dilation in zip(config.channels, config.kernels, config.dilations):
            layers += [nn.Conv1d(before, after, kernel, dilation=dilation), nn.ReLU()]
            before = after
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(2 * before, config.dim)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""
        x = self.layers(self.projector(features).transpose(1, 2))
        return self.linear(statistics(x.float(), unbiased=True, floor=1e-20))
