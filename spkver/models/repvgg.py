"""RepVGG (Ding et al., CVPR 2021; for speakers: Ma et al., ICASSP 2022): branches that fold into one convolution."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, Of
from spkver.models import POOLINGS
from spkver.models.base import FrameNetwork, Pooling
from spkver.models.plane import halved

GROUPED = range(2, 27, 2)  # convolutions with groups: in the largest network, not all of its 47


class RepVGGConfig(Component):
    """The defaults are WeSpeaker's REPVGG_TINY_A0."""

    name: Literal["repvgg"] = "repvgg"
    blocks: tuple[int, int, int, int] = Field((3, 4, 23, 3), description="number of blocks of each stage")
    widths: tuple[int, int, int, int] = Field((32, 64, 128, 256), description="channels of the stages")
    groups: int = Field(1, gt=0, description="groups of every second convolution, up to the 26th")
    second: Literal["1x1", "dilated"] = Field("1x1", description="branch beside the 3 × 3; dilated: RSBB")
    gate: bool = Field(False, description="squeeze and excitation after each block")
    branches: bool = Field(True, description="false: a block is one convolution, into which its branches were folded")
    dim: int = Field(256, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(default="statistics", validate_default=True)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc_1 = nn.Linear(channels, channels // 4)
        self.fc_2 = nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to the same."""
        return x * torch.sigmoid(self.fc_2(F.relu(self.fc_1(x.mean(dim=(2, 3))))))[..., None, None]


def _branch(before: int, after: int, kernel: int, stride: int, dilation: int, groups: int) -> nn.Sequential:
    branch = nn.Sequential()
    padding = dilation * (kernel // 2)
    branch.add_module("conv", nn.Conv2d(before, after, kernel, stride, padding, dilation, groups, bias=False))
    branch.add_module("bn", nn.BatchNorm2d(after))
    return branch


class Block(nn.Module):
    """ReLU of the sum of the branches, each followed by a batch norm; the identity only where the shape is kept."""

    def __init__(self, config: RepVGGConfig, before: int, after: int, stride: int, groups: int) -> None:
        super().__init__()
        dilated = config.second == "dilated"
        self.folded = not config.branches
        self.identity = None
        if self.folded:
            kernel = 5 if dilated else 3
            self.convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups)
        else:
            self.first = _branch(before, after, 3, stride, 1, groups)
            self.second = _branch(before, after, *((3, stride, 2) if dilated else (1, stride, 1)), groups)
            if before == after and stride == 1:
                self.identity = nn.BatchNorm2d(before)
        self.se: nn.Module = Gate(after) if config.gate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, bins, frames) to (batch, after, bins / stride, frames / stride)."""
        if self.folded:
            return self.se(F.relu(self.convolution(x)))
        out = self.first(x) + self.second(x)
        if self.identity is not None:
            out = out + self.identity(x)
        return self.se(F.relu(out))


class RepVGG(FrameNetwork):
    """A first block, four stages, the last three of which halve time and frequency; pooling, affine embedding."""

    Config = RepVGGConfig
    min_frames = step = 8  # three halvings of the time axis

    def __init__(self, config: RepVGGConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        before = min(64, config.widths[0])
        self.stage0 = Block(config, 1, before, 1, 1)
        number = 1
        for stage, (width, count) in enumerate(zip(config.widths, config.blocks), start=1):
            blocks = []
            for place in range(count):
                stride = 2 if stage > 1 and place == 0 else 1
                blocks.append(Block(config, before, width, stride, config.groups if number in GROUPED else 1))
                before, number = width, number + 1
            self.add_module(f"stage{stage}", nn.Sequential(*blocks))
        self.pooling: Pooling = POOLINGS.build(config.pooling, before * halved(bins, 3))
        self.seg = nn.Linear(self.pooling.size, config.dim)

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        x = features.transpose(1, 2).unsqueeze(1)
        for stage in range(5):
            x = self.get_submodule(f"stage{stage}")(x)
        return x.flatten(1, 2)

    def embedding(self, pooled: Tensor) -> Tensor:
        """See FrameNetwork.embedding."""
        return self.seg(pooled)
