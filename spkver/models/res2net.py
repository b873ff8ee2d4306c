"""Res2Net over the time-frequency plane (Gao et al., TPAMI 2021; for speakers: Zhou et al., SLT 2021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, Of
from spkver.models import POOLINGS, masks
from spkver.models.plane import PlaneNetwork, doubled, over_time, shortcut

BLOCKS = (3, 4, 6, 3)


def clipped_relu(x: Tensor) -> Tensor:
    """ReLU clipped at 20, as in the blocks of the published networks (but not in their stems)."""
    return F.hardtanh(x, 0.0, 20.0)


class Res2Config(Component):
    """Fields that Res2Net and ERes2Net share."""

    channels: int = Field(32, gt=0, description="width of the first stage, doubled by each of the next three")
    base_width: int = Field(32, gt=0, description="width of a part, in 64ths of the stage's width")
    scale: int = Field(2, gt=1, description="parts of a block")
    expansion: int = Field(2, gt=0, description="ratio of a block's output to its stage's width")
    dim: int = Field(256, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(default="statistics", validate_default=True)
    layers_after_pooling: Literal[1, 2] = Field(1, description="2: with ReLU and batch norm between them")


class Res2NetConfig(Res2Config):
    """A Res2Net of 34 layers: a block convolves all its parts except the last, in sequence."""

    name: Literal["res2net"] = "res2net"


class Sum(nn.Module):
    """The sum of a part and the result of the previous part, as in Res2Net."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two tensors of one shape to their sum."""
        return x + y


class Res2Block(nn.Module):
    """1 × 1 convolution to `scale` parts; 3 × 3 of each, joined with the previous result; 1 × 1; shortcut.

    convolved: number of parts with a convolution; the others are passed on
    joins: for each of these except the first, the module that joins (previous result, part)
    """

    def __init__(
        self,
        before: int,
        after: int,
        part: int,
        stride: int | tuple[int, int],
        scale: int,
        convolved: int,
        joins: list[nn.Module],
    ) -> None:
        super().__init__()
        self.part = part
        self.conv1 = nn.Conv2d(before, part * scale, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(part * scale)
        self.convs = nn.ModuleList([nn.Conv2d(part, part, 3, 1, 1, bias=False) for _ in range(convolved)])
        self.bns = nn.ModuleList([nn.BatchNorm2d(part) for _ in range(convolved)])
        self.fuse_models = nn.ModuleList(joins)
        self.conv3 = nn.Conv2d(part * scale, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.shortcut = shortcut(before, after, stride)
        self.step = over_time(stride)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, before, bins, frames) to (batch, after, bins / stride, frames / stride)."""
        parts = clipped_relu(self.bn1(self.conv1(x))).split(self.part, 1)
        mask = masks.narrowed(mask, self.step)
        out = [clipped_relu(self.bns[0](self.convs[0](masks.kept(parts[0], mask))))]
        for join, conv, bn, part in zip(self.fuse_models, self.convs[1:], self.bns[1:], parts[1:]):
            out.append(clipped_relu(bn(conv(masks.kept(join(out[-1], part), mask)))))
        joined = torch.cat([*out, *parts[len(out) :]], 1)
        return clipped_relu(self.bn3(self.conv3(joined)) + self.shortcut(x))


class Res2Network(PlaneNetwork):
    """Four stages of Res2Net blocks.

    convolved: number of parts with a convolution in a block
    join: function that makes the module that joins two parts, from their width and the number of the stage
    """

    def __init__(self, config: Res2Config, bins: int, *, convolved: int, join: Callable[[int, int], nn.Module]) -> None:
        def block(before: int, width: int, stride: int | tuple[int, int], stage: int) -> nn.Module:
            part = max(width * config.base_width // 64, 1)
            joins = [join(part, stage) for _ in range(convolved - 1)]
            return Res2Block(before, width * config.expansion, part, stride, config.scale, convolved, joins)

        super().__init__(
            bins,
            widths=doubled(config.channels),
            blocks=BLOCKS,
            block=block,
            expansion=config.expansion,
            pooling=config.pooling,
            dim=config.dim,
            two_layers=config.layers_after_pooling == 2,
        )


class Res2Net(Res2Network):
    """Parts are joined by addition, and the last part of a block has no convolution."""

    Config = Res2NetConfig

    def __init__(self, config: Res2NetConfig, bins: int) -> None:
        super().__init__(config, bins, convolved=config.scale - 1, join=lambda part, stage: Sum())
