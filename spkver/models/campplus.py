"""CAM++ (Wang et al., Interspeech 2023): a densely connected TDNN with context-aware masking."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, Of
from spkver.models import POOLINGS, masks
from spkver.models.base import FrameNetwork, Pooling
from spkver.models.plane import halved
from spkver.models.resnet import BasicBlock

BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers and dilation of the three dense blocks
SEGMENT = 100  # frames over which the local context is averaged
HALF_FREQUENCY = (2, 1)


class CamPlusPlusConfig(Component):
    """A convolutional front module over the plane, then dense blocks of time-delay layers."""

    name: Literal["campplus"] = "campplus"
    front_channels: int = Field(32, gt=0, description="channels of the front convolution module")
    channels: int = Field(128, gt=0, description="channels of the first time-delay layer")
    growth: int = Field(32, gt=0, description="channels that each layer appends")
    bottleneck: int = Field(128, gt=0, description="channels inside a layer")
    dim: int = Field(512, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(default="statistics", validate_default=True)


class FrontModule(nn.Module):
    """Residual blocks that keep the time axis and reduce frequency to an eighth."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(BasicBlock(channels, channels, HALF_FREQUENCY), BasicBlock(channels, channels, 1))
        self.layer2 = nn.Sequential(BasicBlock(channels, channels, HALF_FREQUENCY), BasicBlock(channels, channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, HALF_FREQUENCY, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, bins, frames) to (batch, channels · bins / 8, frames)."""
        x = F.relu(self.bn1(self.conv1(masks.kept(x.unsqueeze(1), mask))))
        for block in (*self.layer1, *self.layer2):
            x = block(x, mask)
        return F.relu(self.bn2(self.conv2(masks.kept(x, mask)))).flatten(1, 2)


def segment_means(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Means over segments of (batch, channels, frames); the last segment may be shorter."""
    ones = torch.ones_like(x[:, :1] if mask is not None else x[:1, :1])
    # avg_pool1d with ceil_mode does not support dynamic lengths in torch.export
    sums, counts = (F.avg_pool1d(F.pad(masks.kept(part, mask), (0, SEGMENT - 1)), SEGMENT) for part in (x, ones))
    return sums / (counts if mask is None else counts.clamp(min=1 / SEGMENT))  # some segments are padding only


class MaskedConv(nn.Module):
    """A convolution whose output is scaled by a mask, computed from the means of the utterance and of the segment."""

    def __init__(self, before: int, after: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(before, after, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(before, before // 2, 1)
        self.linear2 = nn.Conv1d(before // 2, after, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, before, frames) to (batch, after, frames)."""
        context = masks.mean(x, mask, keepdim=True) + segment_means(x, mask)
        # the gate is equal in all frames of a segment, so it is computed once per segment
        gate = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        segment = torch.arange(x.shape[-1], device=x.device) // SEGMENT
        return self.linear_local(masks.kept(x, mask)) * gate.index_select(-1, segment)


class DenseLayer(nn.Module):
    """Batch norm, ReLU, 1 × 1; batch norm, ReLU, masked convolution; appended to the input."""

    def __init__(self, before: int, bottleneck: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm1d(before)
        self.linear1 = nn.Conv1d(before, bottleneck, 1, bias=False)
        self.norm2 = nn.BatchNorm1d(bottleneck)
        self.cam_layer = MaskedConv(bottleneck, growth, dilation)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, before, frames) to (batch, before + growth, frames)."""
        out = self.linear1(F.relu(self.norm1(x)))
        return torch.cat([x, self.cam_layer(F.relu(self.norm2(out)), mask)], 1)


class Transition(nn.Module):
    """Batch norm, ReLU, and a 1 × 1 convolution that halves the channels."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(before)
        self.linear = nn.Conv1d(before, before // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, frames) to (batch, before / 2, frames)."""
        return self.linear(F.relu(self.norm(x)))


class CamPlusPlus(FrameNetwork):
    """Front module, time-delay layer that halves time, dense blocks and transitions, pooling, affine and batch norm."""

    Config = CamPlusPlusConfig
    min_frames = step = 2  # one halving of the time axis
    masked = True

    def __init__(self, config: CamPlusPlusConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        self.head = FrontModule(config.front_channels)
        channels = config.channels
        self.tdnn = nn.Conv1d(config.front_channels * halved(bins, 3), channels, 5, 2, 2, bias=False)
        self.tdnn_norm = nn.BatchNorm1d(channels)
        self.blocks = nn.ModuleList()
        self.transits = nn.ModuleList()
        for layers, dilation in BLOCKS:
            block = []
            for _ in range(layers):
                block.append(DenseLayer(channels, config.bottleneck, config.growth, dilation))
                channels += config.growth
            self.blocks.append(nn.Sequential(*block))
            self.transits.append(Transition(channels))
            channels //= 2
        self.out_norm = nn.BatchNorm1d(channels)
        self.pooling: Pooling = POOLINGS.build(config.pooling, channels)
        self.dense = nn.Linear(self.pooling.size, config.dim, bias=False)
        self.dense_norm = nn.BatchNorm1d(config.dim, affine=False)

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        x = masks.kept(self.head(features.transpose(1, 2), mask), mask)
        x, mask = F.relu(self.tdnn_norm(self.tdnn(x))), masks.narrowed(mask, self.step)
        for block, transit in zip(self.blocks, self.transits):
            for layer in block.children():
                x = layer(x, mask)
            x = transit(x)
        return F.relu(self.out_norm(x))

    def embedding(self, pooled: Tensor) -> Tensor:
        """See FrameNetwork.embedding."""
        return self.dense_norm(self.dense(pooled))
