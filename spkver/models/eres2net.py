"""ERes2Net (Chen et al., Interspeech 2023) and ERes2NetV2 (Chen et al., Interspeech 2024).

Res2Net with attentive fusion of features in the blocks of the last two stages, and between the stages.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from spkver.models import masks
from spkver.models.res2net import Res2Config, Res2Network, Sum


class ERes2NetConfig(Res2Config):
    """ERes2Net, with a convolution for each part of a block. ERes2NetV2 has `fused: last` and other widths."""

    name: Literal["eres2net"] = "eres2net"
    fused: Literal["all", "last"] = Field("all", description="stages: all four from the first on, or the last two (V2)")
    dim: int = Field(192, gt=0, description="dimension of the embedding")


class AttentiveFusion(nn.Module):
    """x · (1 + a) + y · (1 - a), where a is the tanh of a local network of both."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.SiLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two tensors (batch, channels, bins, frames) to one."""
        a = torch.tanh(self.local_att(torch.cat([x, y], 1)))
        return x * (1 + a) + y * (1 - a)


class ERes2Net(Res2Network):
    """The trunk: the output of each fused stage is fused with the previous one, downsampled to its size."""

    Config = ERes2NetConfig

    def __init__(self, config: ERes2NetConfig, bins: int) -> None:
        def join(part: int, stage: int) -> nn.Module:
            return AttentiveFusion(part) if stage > 2 else Sum()

        super().__init__(config, bins, convolved=config.scale, join=join)
        self.first = 1 if config.fused == "all" else 3  # the first stage whose output is passed to the next fusion
        width = config.channels * config.expansion
        for number in range(self.first, 4):
            before, after = width << (number - 1), width << number
            self.add_module(f"downsample{number}", nn.Conv2d(before, after, 3, 2, 1, bias=False))
            self.add_module(f"fuse{number + 1}", AttentiveFusion(after))

    def stages(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, 8 expansion channels, bins / 8, frames / 8)."""
        fused = x
        for number in range(1, 5):
            before = mask
            x, mask = self.stage(number, x, mask)
            if number <= self.first:
                fused = x
            else:
                carried = self.get_submodule(f"downsample{number - 1}")(masks.kept(fused, before))
                fused = self.get_submodule(f"fuse{number}")(x, carried)
        return fused
