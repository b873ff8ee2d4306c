"""ECAPA-TDNN (Desplanques et al., Interspeech 2020)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, Of
from spkver.errors import InputError
from spkver.models import POOLINGS, masks
from spkver.models.base import FrameNetwork, Pooling

KERNEL = 5  # kernel size of the first layer
DILATIONS = (2, 3, 4)
Padding = Literal["zeros", "reflect"]


class EcapaTdnnConfig(Component):
    """The defaults are the network of the paper. Published implementations differ from it in the last five fields."""

    name: Literal["ecapa_tdnn"] = "ecapa_tdnn"
    channels: int = Field(512, gt=0, description="channels of the blocks, a multiple of the scale")
    aggregated: int = Field(1536, gt=0, description="channels after the aggregation of the blocks")
    scale: int = Field(8, gt=1, description="parts of the Res2Net convolution")
    se_hidden: int = Field(128, gt=0, description="hidden units of squeeze and excitation")
    dim: int = Field(192, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(
        default={"name": "attentive_statistics", "context": True}, validate_default=True
    )
    sum_inputs: bool = Field(
        True, description="input of a block: the sum of all previous outputs; WeSpeaker, SpeechBrain: the last one"
    )
    embedding_norm: bool = Field(True, description="batch norm after the affine layer; WeSpeaker, SpeechBrain: none")
    aggregation_norm: bool = Field(False, description="batch norm after the aggregation, as in SpeechBrain")
    padding: Padding = Field("zeros", description="padding of the convolutions; SpeechBrain: reflect")
    goes_by: Literal["first", "last"] = Field("first", description="part without convolution; WeSpeaker: last")


class TimeDelay(nn.Module):
    """Convolution over time that keeps the length, ReLU, batch norm."""

    def __init__(self, before: int, after: int, kernel: int, dilation: int, padding: Padding) -> None:
        super().__init__()
        margin = (kernel - 1) // 2 * dilation
        self.conv = nn.Conv1d(
            before, after, kernel, dilation=dilation, padding=margin, padding_mode=padding if margin else "zeros"
        )
        self.norm = nn.BatchNorm1d(after)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, before, frames) to (batch, after, frames)."""
        return self.norm(F.relu(self.conv(masks.kept(x, mask))))


class Res2(nn.Module):
    """Convolves all parts of the channels except one; each input is the part plus the previous result."""

    def __init__(self, config: EcapaTdnnConfig, dilation: int) -> None:
        super().__init__()
        part = config.channels // config.scale
        self.scale, self.goes_by = config.scale, config.goes_by
        self.blocks = nn.ModuleList(
            [TimeDelay(part, part, 3, dilation, config.padding) for _ in range(config.scale - 1)]
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) to the same."""
        parts = list(x.chunk(self.scale, 1))
        by = parts.pop(0 if self.goes_by == "first" else -1)
        out = [self.blocks[0](parts[0], mask)]
        for block, part in zip(self.blocks[1:], parts[1:]):
            out.append(block(out[-1] + part, mask))
        return torch.cat([by, *out] if self.goes_by == "first" else [*out, by], 1)


class SqueezeExcitation(nn.Module):
    """Squeeze and excitation: scales channels by a gate computed from their means over time."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) to the same."""
        return x * torch.sigmoid(self.linear2(F.relu(self.linear1(masks.mean(x, mask)))))[..., None]


class Block(nn.Module):
    """The SE-Res2Block (figure 1 of the paper)."""

    def __init__(self, config: EcapaTdnnConfig, dilation: int) -> None:
        super().__init__()
        self.tdnn1 = TimeDelay(config.channels, config.channels, 1, 1, config.padding)
        self.res2 = Res2(config, dilation)
        self.tdnn2 = TimeDelay(config.channels, config.channels, 1, 1, config.padding)
        self.se = SqueezeExcitation(config.channels, config.se_hidden)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) to the same."""
        return x + self.se(self.tdnn2(self.res2(self.tdnn1(x), mask)), mask)  # tdnn1 and tdnn2 have a kernel of 1


class EcapaTdnn(FrameNetwork):
    """First layer, three blocks and their aggregation, pooling with batch norm, affine embedding.

    Raises InputError if the channels are not a multiple of the scale.
    """

    Config = EcapaTdnnConfig
    min_frames = KERNEL  # reflection needs one frame more than the largest padding, 4

    def __init__(self, config: EcapaTdnnConfig, bins: int) -> None:
        super().__init__()
        if config.channels % config.scale:
            raise InputError(f"model ecapa_tdnn: {config.channels} channels do not divide into {config.scale} parts")
        self.dim, self.sum_inputs = config.dim, config.sum_inputs
        self.masked = config.padding == "zeros"
        self.first = TimeDelay(bins, config.channels, KERNEL, 1, config.padding)
        self.blocks = nn.ModuleList([Block(config, dilation) for dilation in DILATIONS])
        self.aggregate = nn.Conv1d(len(DILATIONS) * config.channels, config.aggregated, 1)
        self.aggregate_norm = nn.BatchNorm1d(config.aggregated) if config.aggregation_norm else nn.Identity()
        self.pooling: Pooling = POOLINGS.build(config.pooling, config.aggregated)
        self.pooling_norm = nn.BatchNorm1d(self.pooling.size)
        self.linear = nn.Linear(self.pooling.size, config.dim)
        self.norm = nn.BatchNorm1d(config.dim) if config.embedding_norm else nn.Identity()

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        x = self.first(features.transpose(1, 2), mask)
        out = []
        for block in self.blocks:
            out.append(block(x, mask))
            x = x + out[-1] if self.sum_inputs else out[-1]
        return self.aggregate_norm(F.relu(self.aggregate(torch.cat(out, 1))))

    def embedding(self, pooled: Tensor) -> Tensor:
        """See FrameNetwork.embedding."""
        return self.norm(self.linear(self.pooling_norm(pooled)))
