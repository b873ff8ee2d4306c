"""Gemini DF-ResNet: a deep, narrow ResNet (Liu et al., Interspeech 2022) that halves time once (Liu et al., 2024)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, Of
from spkver.models import POOLINGS
from spkver.models.plane import PooledPlane, halved

BLOCKS = {60: (3, 3, 9, 3), 114: (3, 3, 27, 3), 183: (3, 8, 45, 3), 237: (3, 8, 63, 3)}
STRIDES = ((2, 1), (2, 2), (2, 1), (2, 1))  # over frequency and time, at the start of each stage
EXPANSION = 4


class DfResNetConfig(Component):
    """The defaults are WeSpeaker's Gemini_DF_ResNet114."""

    name: Literal["df_resnet"] = "df_resnet"
    depth: Literal[60, 114, 183, 237] = 114
    """number of layers with weights; determines the blocks of each stage"""
    channels: int = Field(32, gt=0, description="width of the first stage, doubled by each of the next three")
    dim: int = Field(256, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(default="statistics", validate_default=True)
    layers_after_pooling: Literal[1, 2] = Field(1, description="2: with ReLU and batch norm between them")


class InvertedBottleneck(nn.Module):
    """1 × 1 to four times the channels, depthwise 3 × 3, 1 × 1 back, each with a batch norm; and the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inside = EXPANSION * channels
        self.conv1 = nn.Conv2d(channels, inside, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3 = nn.Conv2d(inside, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to the same."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + x)


class DfResNet(PooledPlane):
    """Stem, four stages of a strided convolution and blocks, pooling, affine embedding."""

    Config = DfResNetConfig
    min_frames = step = 2  # one halving of the time axis

    def __init__(self, config: DfResNetConfig, bins: int) -> None:
        super().__init__()
        widths = [config.channels << max(number - 1, 0) for number in range(5)]
        self.downsample_layers = nn.ModuleList([_convolution(1, widths[0], 1)])
        self.downsample_layers.extend(
            _convolution(before, after, stride) for before, after, stride in zip(widths, widths[1:], STRIDES)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*[InvertedBottleneck(width) for _ in range(count)])
            for width, count in zip(widths[1:], BLOCKS[config.depth])
        )
        self.add_embedding(config.pooling, widths[-1] * halved(bins, 4), config.dim, config.layers_after_pooling == 2)

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        stem, *narrowing = self.downsample_layers
        x = F.relu(stem(features.transpose(1, 2).unsqueeze(1)))
        for narrow, stage in zip(narrowing, self.stages):
            x = stage(narrow(x))
        return x.flatten(1, 2)


def _convolution(before: int, after: int, stride: int | tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
