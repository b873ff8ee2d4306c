"""Base of the ResNet family: networks over the time-frequency plane.

A stem of one 3 × 3 convolution; four stages of doubling width, of which the last three halve time and frequency;
pooling over time with frequency folded into the channels; an affine layer. Layers have the names of WeSpeaker and
3D-Speaker, so that their checkpoints match.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component
from spkver.models import POOLINGS, masks
from spkver.models.base import FrameNetwork, Pooling

# block(channels before, width of the stage, stride, number of the stage from 1)
MakeBlock = Callable[[int, int, int | tuple[int, int], int], nn.Module]


def halved(size: int, times: int = 1) -> int:
    """The size of an axis after each of several padded convolutions of stride 2."""
    for _ in range(times):
        size = (size - 1) // 2 + 1
    return size


def doubled(channels: int) -> list[int]:
    """The widths of four stages, each twice that of the previous one."""
    return [channels << number for number in range(4)]


class PooledPlane(FrameNetwork):
    """Pooling with frequency folded into the channels, affine embedding."""

    def add_embedding(self, pooling: Component, channels: int, dim: int, two_layers: bool = False) -> None:
        """Build the pooling of that many channels, and the embedding (two_layers: with ReLU and batch norm between)."""
        self.dim = dim
        self.pooling: Pooling = POOLINGS.build(pooling, channels)
        self.seg_1 = nn.Linear(self.pooling.size, dim)
        self.two_layers = two_layers
        if two_layers:
            self.seg_bn_1 = nn.BatchNorm1d(dim, affine=False)
            self.seg_2 = nn.Linear(dim, dim)

    def embedding(self, pooled: Tensor) -> Tensor:
        """(batch, pooling size) to (batch, dim)."""
        embedding = self.seg_1(pooled)
        return self.seg_2(self.seg_bn_1(F.relu(embedding))) if self.two_layers else embedding


class PlaneNetwork(PooledPlane):
    """Stem, four stages of blocks, pooling, affine embedding (`two_layers`: two, with ReLU and batch norm between).

    widths: widths of the four stages; the output of a block has `expansion` times the width of its stage
    """

    min_frames = step = 8  # three halvings of the time axis leave one frame that is not mostly padding
    masked = True

    def __init__(
        self,
        bins: int,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        block: MakeBlock,
        expansion: int = 1,
        pooling: Component,
        dim: int,
        two_layers: bool = False,
    ) -> None:
        super().__init__()
        before = widths[0]
        self.conv1 = nn.Conv2d(1, before, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
            stage = [block(before, width, 1 if number == 1 else 2, number)]
            stage += [block(width * expansion, width, 1, number) for _ in range(count - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            before = width * expansion
        self.add_embedding(pooling, before * halved(bins, 3), dim, two_layers)

    def stages(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, 8 expansion channels, bins / 8, frames / 8)."""
        for number in range(1, 5):
            x, mask = self.stage(number, x, mask)
        return x

    def stage(self, number: int, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The output of a stage, and its mask."""
        for block in self.get_submodule(f"layer{number}").children():
            x = block(x, mask)
            mask = masks.narrowed(mask, int(block.step))  # type: ignore[arg-type]
        return x, mask

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        x = masks.kept(features.transpose(1, 2).unsqueeze(1), mask)
        return self.stages(self.stem(x), mask).flatten(1, 2)

    def stem(self, x: Tensor) -> Tensor:
        """(batch, 1, bins, frames) to (batch, channels, bins, frames)."""
        return F.relu(self.bn1(self.conv1(x)))


def over_time(stride: int | tuple[int, int]) -> int:
    """The stride over time of a stride over the plane."""
    return stride if isinstance(stride, int) else stride[1]


def shortcut(before: int, after: int, stride: int | tuple[int, int]) -> nn.Sequential:
    """The identity, or a 1 × 1 convolution that maps the input of a block to the shape of its output."""
    if stride == 1 and before == after:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


class NoAttention(nn.Module):
    """The identity, called like an attention."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x."""
        return x


class SqueezeExcitation(nn.Module):
    """Squeeze and excitation: scales channels by a gate computed from their means (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.fc = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to the same."""
        return x * self.fc(masks.mean(x, mask, (2, 3)))[..., None, None]


class SimAM(nn.Module):
    """SimAM: scales each value by its distinctiveness in its channel; no parameters (Yang et al., ICML 2021, eq. 5)."""

    def __init__(self, regularisation: float = 1e-4) -> None:
        super().__init__()
        self.regularisation = regularisation

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to the same."""
        plane = x.float()  # squares
        deviations = (plane - masks.mean(plane, mask, (2, 3), keepdim=True)).square()
        others = (masks.number(plane, mask, (2, 3), keepdim=True) - 1).clamp(min=1)
        variance = masks.kept(deviations, mask).sum(dim=(2, 3), keepdim=True) / others
        return x * torch.sigmoid(deviations / (4 * (variance + self.regularisation)) + 0.5).to(x.dtype)
