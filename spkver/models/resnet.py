"""ResNet over the time-frequency plane (He et al., CVPR 2016; for speakers: Zeinali et al., 2019).

Layers are named as WeSpeaker names them, so that its checkpoints map onto ours one to one.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, component
from spkver.models import POOLINGS

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class ResNetConfig(Component):
    """A ResNet of basic blocks; the width doubles at each of the three stages that halve time and frequency."""

    name: Literal["resnet"] = "resnet"
    depth: Literal[18, 34] = 34
    channels: int = Field(32, gt=0, description="width of the first stage")
    dim: int = Field(256, gt=0, description="of the embedding")
    pooling: component(POOLINGS) = Field(default="statistics")  # type: ignore[valid-type]


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, bins, frames) to (batch, after, bins / stride, frames / stride)."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """Convolutional trunk, pooling over time with frequency folded into the channels, affine embedding."""

    Config = ResNetConfig
    min_frames = 8  # three halvings of the time axis

    def __init__(self, config: ResNetConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        width = config.channels
        self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        before, height = width, bins
        for number, blocks in enumerate(BLOCKS[config.depth], start=1):
            after, stride = width << (number - 1), 1 if number == 1 else 2
            stage = [BasicBlock(before if i == 0 else after, after, stride if i == 0 else 1) for i in range(blocks)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            before, height = after, (height - 1) // stride + 1
        self.pooling: Any = POOLINGS.build(config.pooling, before * height)
        self.seg_1 = nn.Linear(self.pooling.size, config.dim)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""
        x = features.transpose(1, 2).unsqueeze(1)
        x = F.relu(self.bn1(self.conv1(x)))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return self.seg_1(self.pooling(x.flatten(1, 2)))
