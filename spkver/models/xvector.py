"""The x-vector network (Snyder et al., ICASSP 2018, table 1) and its extended form (ICASSP 2019, table 2)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from spkver.config import Component, Of
from spkver.models import POOLINGS
from spkver.models.base import FrameNetwork, Pooling

# kernel and dilation of the frame layers; the last one gives pooled_channels
CONTEXTS = {
    "tdnn": ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1)),
    "extended": ((5, 1), (1, 1), (3, 2), (1, 1), (3, 3), (1, 1), (3, 4), (1, 1), (1, 1), (1, 1)),
}


class XVectorConfig(Component):
    """Time-delay layers, pooling, and the affine layer of the embedding."""

    name: Literal["xvector"] = "xvector"
    frame_layers: Literal["tdnn", "extended"] = Field("tdnn", description="five layers, or ten of the extended TDNN")
    channels: int = Field(512, gt=0)
    """channels of the frame layers except the last"""
    pooled_channels: int = Field(1500, gt=0, description="channels of the last frame layer, before pooling")
    dim: int = Field(512, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(default="statistics", validate_default=True)
    layers_after_pooling: Literal[1, 2] = Field(1, description="2: segment6, ReLU and segment7 of the paper")
    between: Literal["norm_relu", "relu_norm"] = Field(
        "norm_relu", description="order between the two layers; WeSpeaker: relu_norm"
    )
    embedding_norm: bool = Field(True, description="batch norm after the last layer; WeSpeaker, SpeechBrain: none")
    activation: Literal["relu", "leaky_relu"] = Field(
        "relu", description="activation of the frame layers; SpeechBrain: leaky_relu"
    )
    padding: Literal["none", "reflect"] = Field("none", description="padding of the frame layers; SpeechBrain: reflect")


class XVector(FrameNetwork):
    """Frame layers: affine, ReLU, batch norm. Embedding: affine and, by default, batch norm without ReLU."""

    Config = XVectorConfig

    def __init__(self, config: XVectorConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        contexts = CONTEXTS[config.frame_layers]
        spans = [(kernel - 1) * dilation for kernel, dilation in contexts]
        padded = config.padding == "reflect"  # needs one frame more than the largest padding
        self.min_frames = 1 + (max(spans) // 2 if padded else sum(spans))
        self.edge = 0 if padded else sum(spans) // 2
        self.masked = not padded  # without padding of its own, a layer gives the real frames first
        sizes = [bins, *[config.channels] * (len(contexts) - 1), config.pooled_channels]
        layers: list[nn.Module] = []
        for before, after, (kernel, dilation), span in zip(sizes, sizes[1:], contexts, spans):
            margin = span // 2 if padded else 0
            mode: Literal["reflect", "zeros"] = "reflect" if margin else "zeros"
            layers += [
                nn.Conv1d(before, after, kernel, dilation=dilation, padding=margin, padding_mode=mode),
                nn.ReLU() if config.activation == "relu" else nn.LeakyReLU(),
                nn.BatchNorm1d(after),
            ]
        self.frame = nn.Sequential(*layers)
        self.pooling: Pooling = POOLINGS.build(config.pooling, config.pooled_channels)
        segment: list[nn.Module] = [nn.Linear(self.pooling.size, config.dim)]
        if config.layers_after_pooling == 2:
            between = [nn.BatchNorm1d(config.dim), nn.ReLU()]
            segment += between if config.between == "norm_relu" else between[::-1]
            segment.append(nn.Linear(config.dim, config.dim))
        if config.embedding_norm:
            segment.append(nn.BatchNorm1d(config.dim))
        self.segment = nn.Sequential(*segment)

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        return self.frame(features.transpose(1, 2))

    def embedding(self, pooled: Tensor) -> Tensor:
        """See FrameNetwork.embedding."""
        return self.segment(pooled)
