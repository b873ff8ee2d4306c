"""ReDimNet2 (Yakovlev and Okhotnikov, 2026): ReDimNet whose stages work at ever lower frame rates.

Each stage reduces time by a strided convolution, and its output is repeated to the frame rate of the input, so that all
signals have the same shape.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from spkver.config import Component, Of
from spkver.errors import InputError
from spkver.models import POOLINGS
from spkver.models.base import FrameNetwork, Pooling
from spkver.models.redimnet import EPSILON, ChannelNorm, TimeBlock, WeightedSum, block, divides, to_signal

# frequency stride, time stride, blocks, multiple of the channels in the blocks, divisor of the channels over time
Stage2 = tuple[int, int, int, float, int]


class ReDimNet2Config(Component):
    """The defaults are ReDimNet2-B3."""

    name: Literal["redimnet2"] = "redimnet2"
    channels: int = Field(24, gt=0, description="channels at full frequency resolution; they grow as it falls")
    blocks: Literal["convnext", "resnet", "resnet_se"] = Field("resnet", description="two-dimensional blocks")
    group: int = Field(1, gt=0, description="approximate channels per group of the 3 × 3 convolutions")
    stages: tuple[Stage2, ...] = Field(
        (
            (1, 1, 2, 4, 24),
            (2, 1, 3, 3, 24),
            (1, 2, 4, 2, 24),
            (2, 1, 5, 1, 24),
            (1, 2, 4, 1, 24),
            (2, 1, 3, 1, 24),
        ),
        description="of each: what divides frequency, and time; blocks; their channels, as a multiple; what divides "
        "the signal's channels inside the block over time (0: no such block)",
    )
    grouped: bool = Field(True, description="grouped strided convolutions")
    out: int = Field(0, ge=0, description="channels of the output before pooling; 0: no convolution there")
    plane_out: bool = Field(True, description="the output is a plane, and `out` its channels")
    both: bool = Field(False, description="add the signals before and after each block over time to the sums")
    signal_norm: bool = Field(False, description="a group norm on every signal")
    dim: int = Field(192, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(
        default={"name": "attentive_statistics", "context": True, "unbiased": True}, validate_default=True
    )


def repeated(x: Tensor, times: int) -> Tensor:
    """(batch, channels, frames) with every frame repeated."""
    return x if times == 1 else x[..., None].expand(-1, -1, -1, times).flatten(2)


class Stage(nn.Module):
    """Weighted sum, reshaping to 2D, strided convolution, blocks, reshaping to 1D, time block, repetition of frames."""

    def __init__(
        self, config: ReDimNet2Config, signals: int, channels: int, bins: int, stage: Stage2, total: int, norm: int
    ) -> None:
        super().__init__()
        divisor, _, blocks, multiple, reduction = stage
        self.bins, self.total = bins, total
        width = channels * bins
        self.sum = WeightedSum(signals, width)
        after, inside = divisor * channels, int(divisor * channels * multiple)
        groups = math.gcd(channels, inside) if config.grouped else 1
        self.down = nn.Conv2d(channels, inside, (divisor, total), (divisor, total), groups=groups)
        self.blocks = nn.Sequential(
            *[block(config.blocks, config.group, inside, bins // divisor, "redimnet2") for _ in range(blocks)]
        )
        self.squeeze: nn.Module = nn.Identity()
        if multiple != 1:
            self.squeeze = nn.Sequential(nn.Conv2d(inside, after, 1), nn.BatchNorm2d(after, EPSILON))
        self.time: nn.Module = TimeBlock(width, width // reduction) if reduction else nn.Identity()
        self.both = config.both and reduction > 0
        self.norms = nn.ModuleList(_norm(norm, width) for _ in range(1 + self.both))

    def forward(self, signals: list[Tensor]) -> list[Tensor]:
        """Signals (batch, bins · channels, frames) to one or two more."""
        plane = self.sum(signals).unflatten(1, (self.bins, -1)).transpose(1, 2)
        before = to_signal(self.squeeze(self.blocks(self.down(plane))))
        found = [before, self.time(before)] if self.both else [self.time(before)]
        return [norm(repeated(one, self.total)) for norm, one in zip(self.norms, found)]


def _norm(groups: int, width: int) -> nn.Module:
    return nn.GroupNorm(groups, width) if groups else nn.Identity()


class ReDimNet2(FrameNetwork):
    """Stem, stages, weighted sum of all signals, output convolution, pooling, batch norm, affine embedding.

    Raises InputError if mel bins, groups or heads are not divisible as required.
    """

    Config = ReDimNet2Config

    def __init__(self, config: ReDimNet2Config, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        channels, height, width, total, signals = config.channels, bins, config.channels * bins, 1, 1
        norm = config.channels if config.signal_norm else 0
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), ChannelNorm(channels, EPSILON))
        self.stem_norm = _norm(norm, width)
        self.stages = nn.ModuleList()
        for number, stage in enumerate(config.stages, start=1):
            divisor, shorter, _, multiple, reduction = stage
            divides("mel bins", height, divisor, number, "redimnet2")
            if shorter < 1 or int(divisor * channels * multiple) < 1:
                raise InputError(f"model redimnet2: stage {number} needs a time stride and channels of 1 or more")
            if reduction:
                divides("channels over time", width // reduction, 4, number, "redimnet2")
            total *= shorter
            self.stages.append(Stage(config, signals, channels, height, stage, total, norm))
            signals += 2 if config.both and reduction else 1
            channels, height = channels * divisor, height // divisor
        self.time_stride = self.min_frames = total
        self.sum = WeightedSum(signals, width)
        self.bins = height if config.plane_out else 0
        self.head: nn.Module = nn.Identity()
        if config.out:
            self.head = nn.Conv2d(channels, config.out, 1) if config.plane_out else nn.Conv1d(width, config.out, 1)
            width = config.out * (height if config.plane_out else 1)
        self.pooling: Pooling = POOLINGS.build(config.pooling, width)
        self.pooling_norm = nn.BatchNorm1d(self.pooling.size)
        self.linear = nn.Linear(self.pooling.size, config.dim)

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        whole = features.shape[1] // self.time_stride * self.time_stride
        plane = features[:, :whole].transpose(1, 2).unsqueeze(1)
        signals = [self.stem_norm(to_signal(self.stem(plane)))]
        for stage in self.stages:
            signals += stage(signals)
        x = self.sum(signals)
        return self.head(x.unflatten(1, (self.bins, -1)).transpose(1, 2)).flatten(1, 2) if self.bins else self.head(x)

    def embedding(self, pooled: Tensor) -> Tensor:
        """See FrameNetwork.embedding."""
        return self.linear(self.pooling_norm(pooled))
