"""ResNet over the time-frequency plane (He et al., CVPR 2016; for speakers: Zeinali et al., 2019).

The blocks can have squeeze and excitation, or SimAM (Qin et al., ICASSP 2022).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, Of
from spkver.errors import InputError
from spkver.models import POOLINGS, masks
from spkver.models.plane import NoAttention, PlaneNetwork, SimAM, SqueezeExcitation, doubled, over_time, shortcut


class ResNetConfig(Component):
    """A ResNet: basic blocks for depths 18, 34 and 100, bottleneck blocks for the others."""

    name: Literal["resnet"] = "resnet"
    depth: Literal[18, 34, 50, 100, 101, 152, 221, 293] = 34
    """number of layers with weights; determines the blocks of each stage"""
    channels: int = Field(32, gt=0, description="width of the first stage, doubled by each of the next three")
    attention: Literal["none", "se", "simam"] = Field("none", description="attention at the end of every block")
    reduction: int = Field(8, gt=0, description="reduction of the channels inside squeeze and excitation")
    dim: int = Field(256, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(default="statistics", validate_default=True)
    order: Literal["norm_relu", "relu_norm"] = Field(
        "norm_relu", description="after the stem and a block's first convolution; voxceleb_trainer: relu_norm"
    )
    layers_after_pooling: Literal[1, 2] = Field(1, description="2: with ReLU and batch norm between them")


def _attention(config: ResNetConfig | None, channels: int) -> nn.Module:
    if config is None or config.attention == "none":
        return NoAttention()
    return SimAM() if config.attention == "simam" else SqueezeExcitation(channels, config.reduction)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut."""

    expansion = 1

    def __init__(
        self, before: int, width: int, stride: int | tuple[int, int], config: ResNetConfig | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.attention = _attention(config, width)
        self.shortcut = shortcut(before, width, stride)
        self.relu_first = config is not None and config.order == "relu_norm"
        self.step = over_time(stride)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, before, bins, frames) to (batch, width, bins / stride, frames / stride)."""
        out = self.conv1(masks.kept(x, mask))
        out = self.bn1(F.relu(out)) if self.relu_first else F.relu(self.bn1(out))
        mask = masks.narrowed(mask, self.step)
        out = self.bn2(self.conv2(masks.kept(out, mask)))
        return F.relu(self.attention(out, mask) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 3 × 3 convolution between two 1 × 1, and a shortcut."""

    expansion = 4

    def __init__(
        self, before: int, width: int, stride: int | tuple[int, int], config: ResNetConfig | None = None
    ) -> None:
        super().__init__()
        after = width * self.expansion
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.attention = _attention(config, after)
        self.shortcut = shortcut(before, after, stride)
        self.step = over_time(stride)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, before, bins, frames) to (batch, 4 width, bins / stride, frames / stride)."""
        out = masks.kept(F.relu(self.bn1(self.conv1(x))), mask)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        return F.relu(self.attention(out, masks.narrowed(mask, self.step)) + self.shortcut(x))


BLOCKS: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    100: (BasicBlock, (6, 16, 24, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
    221: (Bottleneck, (6, 16, 48, 3)),
    293: (Bottleneck, (10, 20, 64, 3)),
}


class ResNet(PlaneNetwork):
    """Four stages of residual blocks."""

    Config = ResNetConfig

    def __init__(self, config: ResNetConfig, bins: int) -> None:
        block, blocks = BLOCKS[config.depth]
        relu_first = config.order == "relu_norm"
        if relu_first and block is Bottleneck:
            raise InputError(
                f"model resnet: order relu_norm needs basic blocks, but depth {config.depth} has bottleneck blocks"
            )
        super().__init__(
            bins,
            widths=doubled(config.channels),
            blocks=blocks,
            block=lambda before, width, stride, _: block(before, width, stride, config),
            expansion=block.expansion,
            pooling=config.pooling,
            dim=config.dim,
            two_layers=config.layers_after_pooling == 2,
        )
        self.relu_first = relu_first
        if relu_first:  # a batch norm would cancel a bias before it, a ReLU does not
            self.conv1 = nn.Conv2d(1, config.channels, 3, 1, 1)

    def stem(self, x: Tensor) -> Tensor:
        """(batch, 1, bins, frames) to (batch, channels, bins, frames)."""
        return self.bn1(F.relu(self.conv1(x))) if self.relu_first else super().stem(x)
