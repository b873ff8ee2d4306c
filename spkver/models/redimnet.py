"""ReDimNet: a network that alternates between two and one dimensions (Yakovlev et al., Interspeech 2024).

The product of channels and bins is constant, so the output of every stage is a signal (batch, channels · bins, frames)
with bins outermost. The input of each stage is a weighted sum of all previous outputs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, Of
from spkver.errors import InputError
from spkver.models import POOLINGS
from spkver.models.base import FrameNetwork, Pooling

TIME_KERNELS = (7, 19, 31, 59)  # kernel sizes of the convolutions over time before the attention
HEADS = 4
EPSILON = 1e-6


class ReDimNetConfig(Component):
    """The defaults are ReDimNet-B2."""

    name: Literal["redimnet"] = "redimnet"
    channels: int = Field(16, gt=0, description="channels at full frequency resolution; they grow as it falls")
    blocks: Literal["convnext", "resnet", "resnet_se"] = Field("convnext", description="two-dimensional blocks")
    group: int = Field(4, gt=0, description="approximate channels per group of the 3 × 3 convolutions")
    stages: tuple[tuple[int, int, int, int], ...] = Field(
        ((1, 2, 1, 12), (2, 2, 1, 12), (1, 3, 1, 12), (2, 4, 1, 8), (1, 4, 1, 8), (2, 4, 1, 4)),
        description="of each: what divides frequency; blocks; their channels, as a multiple; what divides the signal's "
        "channels inside the block over time (0: no such block)",
    )
    dim: int = Field(192, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(
        default={"name": "attentive_statistics", "context": True}, validate_default=True
    )
    pooling_norm: bool = Field(True, description="a batch norm after pooling; WeSpeaker's port has none")


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the second axis."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, ...) to the same."""
        last = x.dim() - 1  # the ONNX exporter does not support negative axes
        return super().forward(x.movedim(1, last)).movedim(last, 1)


class ConvNext1d(nn.Module):
    """x + 1 × 1 of GELU of the batch norm of a depthwise convolution over time."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.BatchNorm1d(channels)
        self.pwconv = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to the same."""
        return x + self.pwconv(F.gelu(self.norm(self.dwconv(x))))


class ConvNext2d(nn.Module):
    """x + 1 × 1 of GELU of the batch norm of a grouped 3 × 3 convolution."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        self.norm = nn.BatchNorm2d(channels)
        self.pwconv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to the same."""
        return x + self.pwconv(F.gelu(self.norm(self.dwconv(x))))


class FrequencyGate(nn.Module):
    """Scales bins by a gate computed from their means over channels and time (Thienpondt et al., Interspeech 2021)."""

    def __init__(self, bins: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(bins, hidden)
        self.excite = nn.Linear(hidden, bins)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to the same."""
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(dim=(1, 3))))))[:, None, :, None]


class SeparableBlock(nn.Module):
    """A residual block of two grouped 3 × 3 convolutions, each followed by a 1 × 1 convolution."""

    def __init__(self, channels: int, groups: int, gate: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.conv1pw = nn.Conv2d(channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.conv2pw = nn.Conv2d(channels, channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = gate

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to the same."""
        out = self.bn1(F.relu(self.conv1pw(self.conv1(x))))
        return F.relu(x + self.se(self.bn2(self.conv2pw(self.conv2(out)))))


class SelfAttention(nn.Module):
    """Multi-head self-attention over the frames of an utterance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, channels) to the same."""
        q, k, v = (
            project(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """A transformer encoder layer with norms after the sums."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = SelfAttention(channels)
        self.layer_norm = nn.LayerNorm(channels, EPSILON)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, channels), nn.GELU(approximate="tanh"), nn.Linear(channels, channels)
        )
        self.final_layer_norm = nn.LayerNorm(channels, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to the same."""
        x = x.transpose(1, 2)
        x = self.layer_norm(x + self.attention(x))
        return self.final_layer_norm(x + self.feed_forward(x)).transpose(1, 2)


class TimeBlock(nn.Module):
    """x + convolutions over time and attention, computed in fewer channels."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv1d(channels, hidden, 1), ChannelNorm(hidden, EPSILON))
        self.context = nn.Sequential(*[ConvNext1d(hidden, kernel) for kernel in TIME_KERNELS], Transformer(hidden))
        self.expand = nn.Conv1d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to the same."""
        return x + self.expand(self.context(self.reduce(x)))


class WeightedSum(nn.Module):
    """A weighted sum of signals; the weights of each channel are a softmax over the signals."""

    def __init__(self, signals: int, channels: int) -> None:
        super().__init__()
        # with a single signal the weight is 1
        self.weights = nn.Parameter(torch.zeros(1, signals, channels, 1)) if signals > 1 else None

    def forward(self, signals: list[Tensor]) -> Tensor:
        """Signals (batch, channels, frames) to one."""
        if self.weights is None:
            return signals[0]
        return (self.weights.softmax(dim=1) * torch.stack(signals, 1)).sum(dim=1)


def to_signal(x: Tensor) -> Tensor:
    """(batch, channels, bins, frames) to (batch, bins · channels, frames)."""
    return x.transpose(1, 2).flatten(1, 2)


class Stage(nn.Module):
    """Weighted sum, reshaping to 2D, strided convolution over frequency, blocks, reshaping to 1D, time block."""

    def __init__(
        self, config: ReDimNetConfig, number: int, channels: int, bins: int, divisor: int, blocks: int, multiple: int
    ) -> None:
        super().__init__()
        self.bins = bins
        self.sum = WeightedSum(number, channels * bins)
        inside, after, height = divisor * channels * multiple, divisor * channels, bins // divisor
        self.down = nn.Conv2d(channels, inside, (divisor, 1), (divisor, 1))
        self.blocks = nn.Sequential(*[block(config.blocks, config.group, inside, height) for _ in range(blocks)])
        self.squeeze: nn.Module = nn.Identity()
        if multiple != 1:
            self.squeeze = nn.Sequential(
                nn.Conv2d(inside, after, 3, padding=1, groups=_groups(after, config.group)),
                nn.BatchNorm2d(after, EPSILON),
                nn.GELU(),
                nn.Conv2d(after, after, 1),
            )
        self.time: nn.Module = nn.Identity()

    def forward(self, signals: list[Tensor]) -> Tensor:
        """Signals (batch, bins · channels, frames) to one."""
        plane = self.sum(signals).unflatten(1, (self.bins, -1)).transpose(1, 2)
        return self.time(to_signal(self.squeeze(self.blocks(self.down(plane)))))


def block(kind: str, group: int, channels: int, bins: int, model: str = "redimnet") -> nn.Module:
    """A block over the plane. model: its name, for messages"""
    groups = _groups(channels, group, model)
    if kind == "convnext":
        return ConvNext2d(channels, groups)
    gate = FrequencyGate(bins, min(64, max(channels, 32))) if kind == "resnet_se" else nn.Identity()
    return SeparableBlock(channels, groups, gate)


class ReDimNet(FrameNetwork):
    """Stem, stages, weighted sum of all their outputs, pooling, affine embedding.

    Raises InputError if mel bins, groups or heads are not divisible as required.
    """

    Config = ReDimNetConfig
    min_frames = 1  # no layer reduces the number of frames

    def __init__(self, config: ReDimNetConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        channels, height, width = config.channels, bins, config.channels * bins
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), ChannelNorm(channels, EPSILON))
        self.stages = nn.ModuleList()
        for number, (divisor, blocks, multiple, reduction) in enumerate(config.stages, start=1):
            divides("mel bins", height, divisor, number)
            stage = Stage(config, number, channels, height, divisor, blocks, multiple)
            if reduction:
                divides("channels over time", width // reduction, HEADS, number)
                stage.time = TimeBlock(width, width // reduction)
            self.stages.append(stage)
            channels, height = channels * divisor, height // divisor
        self.sum = WeightedSum(len(config.stages) + 1, width)
        self.pooling: Pooling = POOLINGS.build(config.pooling, width)
        self.pooling_norm = nn.BatchNorm1d(self.pooling.size) if config.pooling_norm else nn.Identity()
        self.linear = nn.Linear(self.pooling.size, config.dim)

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        signals = [to_signal(self.stem(features.transpose(1, 2).unsqueeze(1)))]
        for stage in self.stages:
            signals.append(stage(signals))
        return self.sum(signals)

    def embedding(self, pooled: Tensor) -> Tensor:
        """See FrameNetwork.embedding."""
        return self.linear(self.pooling_norm(pooled))


def _groups(channels: int, group: int, model: str = "redimnet") -> int:
    groups = max(channels // group, 1)
    if channels % groups:
        raise InputError(f"model {model}: {channels} channels do not divide into {groups} groups of about {group}")
    return groups


def divides(what: str, number: int, divisor: int, stage: int, model: str = "redimnet") -> None:
    """Raise InputError if a number cannot be divided. model: its name, for the message"""
    if divisor < 1 or number % divisor:
        raise InputError(f"model {model}: {number} {what} do not divide by {divisor} in stage {stage}")
