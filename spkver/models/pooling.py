"""Pooling over time: (batch, channels, frames) to (batch, `size`). Defined and finite for a single frame."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from spkver.config import Component

VARIANCE_FLOOR = 1e-7  # under the square root; keeps the gradient of a constant channel finite


class MeanConfig(Component):
    """Mean over time."""

    name: Literal["mean"] = "mean"


class Mean(nn.Module):
    """The mean of every channel."""

    Config = MeanConfig

    def __init__(self, config: MeanConfig, channels: int) -> None:
        super().__init__()
        self.size = channels

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to (batch, channels)."""
        return x.float().mean(dim=-1)


class StatisticsConfig(Component):
    """Mean and standard deviation over time (Snyder et al., Interspeech 2017)."""

    name: Literal["statistics"] = "statistics"


class Statistics(nn.Module):
    """Mean and (biased) standard deviation of every channel."""

    Config = StatisticsConfig

    def __init__(self, config: StatisticsConfig, channels: int) -> None:
        super().__init__()
        self.size = 2 * channels

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to (batch, 2 channels)."""
        variance, mean = torch.var_mean(x.float(), dim=-1, correction=0)
        return torch.cat([mean, (variance + VARIANCE_FLOOR).sqrt()], dim=-1)


class AttentiveStatisticsConfig(Component):
    """Mean and standard deviation weighted by attention per channel (Okabe et al., Interspeech 2018)."""

    name: Literal["attentive_statistics"] = "attentive_statistics"
    hidden: int = Field(128, gt=0)


class AttentiveStatistics(nn.Module):
    """Weights α = softmax over time of a two-layer network; mean and deviation under α."""

    Config = AttentiveStatisticsConfig

    def __init__(self, config: AttentiveStatisticsConfig, channels: int) -> None:
        super().__init__()
        self.size = 2 * channels
        self.attention = nn.Sequential(
            nn.Conv1d(channels, config.hidden, 1), nn.Tanh(), nn.Conv1d(config.hidden, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to (batch, 2 channels)."""
        weights = self.attention(x).float().softmax(dim=-1)
        x = x.float()
        mean = (weights * x).sum(dim=-1)
        variance = (weights * (x - mean[..., None]).square()).sum(dim=-1)
        return torch.cat([mean, (variance + VARIANCE_FLOOR).sqrt()], dim=-1)
