"""Pooling over time: `Pooling(config, channels)` maps (batch, channels, frames) to (batch, `size`).

The interface with trunks: a trunk returns real values (batch, channels, frames) with at least one frame. A trunk over
the time-frequency plane first folds bins into channels, (batch, channels · bins, frames) with channels outermost.
Poolings accept any number of channels, except those that split them, which raise InputError if they cannot. Statistics
are computed in float32, also under autocast, and are finite for a single frame and for constant frames.

Frames can have weights (batch, frames): a frame of weight 0 has no effect, so a row may be padded, and a frame of
weight 2 counts as two. Attention is multiplied by them. Without any weight above 0, the result is NaN. In training,
batch norms of an attention see all frames.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component
from spkver.errors import InputError
from spkver.models.base import Pooling

VARIANCE_FLOOR = 1e-7  # before the square root; keeps the gradient of a constant channel finite


class MeanConfig(Component):
    """Mean over time."""

    name: Literal["mean"] = "mean"


class Mean(Pooling):
    """The mean of every channel."""

    Config = MeanConfig

    def __init__(self, config: MeanConfig, channels: int) -> None:
        super().__init__()
        self.size = channels

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) to (batch, channels)."""
        return x.float().mean(dim=-1) if weights is None else (x.float() * _shares(weights)).sum(dim=-1)


class StatisticsConfig(Component):
    """Mean and standard deviation over time (Snyder et al., Interspeech 2017)."""

    name: Literal["statistics"] = "statistics"
    unbiased: bool = Field(False, description="divide by frames - 1, as WeSpeaker and 3D-Speaker do")
    floor: float = Field(VARIANCE_FLOOR, gt=0, description="added to the variance; SpeechBrain: almost 0")
    mean: bool = Field(True, description="false: the standard deviation only (WeSpeaker's TSDP)")


class Statistics(Pooling):
    """Mean and standard deviation of every channel."""

    Config = StatisticsConfig

    def __init__(self, config: StatisticsConfig, channels: int) -> None:
        super().__init__()
        self.unbiased, self.floor = config.unbiased, config.floor
        self.left_out = 0 if config.mean else channels
        self.size = 2 * channels - self.left_out

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) to (batch, 2 channels), or (batch, channels) without the mean."""
        return statistics(x.float(), self.unbiased, self.floor, weights)[:, self.left_out :]


def _shares(weights: Tensor) -> Tensor:
    """Weights (batch, frames) as shares (batch, 1, frames) that sum to 1."""
    return (weights / weights.sum(dim=-1, keepdim=True))[:, None]


def _attention(scores: Tensor, weights: Tensor | None) -> Tensor:
    """softmax over the frames of scores (batch, ..., frames), times the weights of the frames."""
    if weights is None:
        return scores.float().softmax(dim=-1)
    return (scores.float() + weights.log()[:, None]).softmax(dim=-1)


def statistics(x: Tensor, unbiased: bool, floor: float = VARIANCE_FLOOR, weights: Tensor | None = None) -> Tensor:
    """Mean and deviation over the frames of (batch, channels, frames), as (batch, 2 channels); weights as in Pooling.

    With weights w, unbiased divides by Σw - Σw² / Σw, which is frames - 1 for weights of 0 and 1.
    """
    if weights is not None:
        shares = _shares(weights)
        mean = (shares * x).sum(dim=-1)
        variance = (shares * (x - mean[..., None]).square()).sum(dim=-1)
        if unbiased:
            rest = 1 - shares.square().sum(dim=-1)
            variance = variance / torch.where(rest > 1e-6, rest, 1)  # 0 for a single frame
        return torch.cat([mean, (variance + floor).sqrt()], dim=-1)
    variance, mean = torch.var_mean(x, dim=-1, correction=0)
    if unbiased:  # without torch's correction, which divides by zero for one frame
        # from values, not from the shape, so that it stays dynamic in exports
        frames = (x[:, :1] == x[:, :1]).to(x.dtype).sum(dim=-1)
        variance = variance * (frames / (frames - 1).clamp(min=1))
    return torch.cat([mean, (variance + floor).sqrt()], dim=-1)


def weighted_statistics(x: Tensor, weights: Tensor, floor: float = VARIANCE_FLOOR) -> tuple[Tensor, Tensor]:
    """Mean and deviation over the last axis of x under weights that sum to 1 over it (Okabe et al., 2018)."""
    mean = (weights * x).sum(dim=-1)
    # equals E[x²] - E[x]², without cancellation
    variance = (weights * (x - mean[..., None]).square()).sum(dim=-1)
    return mean, variance.clamp(min=floor).sqrt()


class AttentiveStatisticsConfig(Component):
    """Mean and standard deviation weighted by attention per channel (Okabe et al., Interspeech 2018)."""

    name: Literal["attentive_statistics"] = "attentive_statistics"
    hidden: int = Field(128, gt=0)
    """units of the hidden layer of the attention"""
    context: bool = Field(
        False, description="also use mean and deviation of all frames in the attention (Desplanques et al., 2020)"
    )
    activation: Literal["tanh", "relu_norm", "relu_norm_tanh"] = Field(
        "tanh", description="activation of the hidden layer; SimAM-ResNet: relu_norm, SpeechBrain: relu_norm_tanh"
    )
    unbiased: bool = Field(False, description="whether the deviation of the context is unbiased")
    floor: float = Field(VARIANCE_FLOOR, gt=0, description="floor of the variance; SpeechBrain: 1e-12")


class AttentiveStatistics(Pooling):
    """Weights α = softmax over time of a two-layer network; mean and deviation under α."""

    Config = AttentiveStatisticsConfig

    def __init__(self, config: AttentiveStatisticsConfig, channels: int) -> None:
        super().__init__()
        self.context, self.unbiased, self.floor = config.context, config.unbiased, config.floor
        self.size = 2 * channels
        activations: dict[str, list[nn.Module]] = {
            "tanh": [nn.Tanh()],
            "relu_norm": [nn.ReLU(), nn.BatchNorm1d(config.hidden)],
            "relu_norm_tanh": [nn.ReLU(), nn.BatchNorm1d(config.hidden), nn.Tanh()],
        }
        self.attention = nn.Sequential(
            nn.Conv1d(3 * channels if config.context else channels, config.hidden, 1),
            *activations[config.activation],
            nn.Conv1d(config.hidden, channels, 1),
        )

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) to (batch, 2 channels)."""
        hidden = self._with_context(x, weights) if self.context else self.attention[0](x)
        attention = _attention(self.attention[1:](hidden), weights)
        return torch.cat(weighted_statistics(x.float(), attention, self.floor), dim=-1)

    def _with_context(self, x: Tensor, weights: Tensor | None) -> Tensor:
        """The first layer on frames with the context appended. The term of the context is computed only once."""
        first: Any = self.attention[0]
        channels = x.shape[1]
        pooled = statistics(x.float(), self.unbiased, weights=weights)
        context = F.linear(pooled, first.weight[:, channels:, 0], first.bias)
        return F.conv1d(x, first.weight[:, :channels]) + context[..., None]


class SelfAttentiveConfig(Component):
    """Means weighted by attention, one per head (Zhu et al., Interspeech 2018; one head: Cai et al., Odyssey 2018)."""

    name: Literal["self_attentive"] = "self_attentive"
    hidden: int = Field(128, gt=0)
    """units of the attention's hidden layer"""
    heads: int = Field(1, gt=0, description="number of heads; each uses all channels")


class SelfAttentive(Pooling):
    """A = softmax over time of W₂ tanh(W₁ h): each head has a row of weights and gives a mean of all channels."""

    Config = SelfAttentiveConfig

    def __init__(self, config: SelfAttentiveConfig, channels: int) -> None:
        super().__init__()
        self.size = config.heads * channels
        self.attention = nn.Sequential(
            nn.Conv1d(channels, config.hidden, 1), nn.Tanh(), nn.Conv1d(config.hidden, config.heads, 1, bias=False)
        )

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) to (batch, heads · channels)."""
        attention = _attention(self.attention(x), weights)
        return (attention[:, :, None] * x.float()[:, None]).sum(dim=-1).flatten(1)


class MultiHeadConfig(Component):
    """Channels are split into heads, each with its own attention (India et al., Interspeech 2019), with deviations."""

    name: Literal["multi_head"] = "multi_head"
    heads: int = Field(2, gt=0, description="must divide the channels")
    hidden: int = Field(64, gt=0)
    """units of the attention's hidden layer, for each attention"""
    per_channel: bool = Field(False, description="a weight for each channel of a head, not one for all of them")
    by_head: bool = Field(False, description="means and deviations of each head together, as in WeSpeaker")
    floor: float = Field(VARIANCE_FLOOR, gt=0, description="floor of the variance; voxceleb_trainer: 1e-5")


class MultiQueryMultiHeadConfig(Component):
    """Several attentions per head (Zhao et al., ICASSP 2022)."""

    name: Literal["multi_query_multi_head"] = "multi_query_multi_head"
    heads: int = Field(8, gt=0, description="must divide the channels")
    queries: int = Field(2, gt=0, description="attentions per head")
    hidden: int = Field(64, gt=0)
    """units of the attention's hidden layer, for each attention"""
    per_channel: bool = Field(True, description="a weight for each channel of a head, not one for all of them")
    by_head: bool = Field(False, description="means and deviations of each head together, as in WeSpeaker")
    floor: float = Field(VARIANCE_FLOOR, gt=0, description="floor of the variance; voxceleb_trainer: 1e-5")


class MultiQueryMultiHead(Pooling):
    """Mean and deviation of every channel under the weights of its head, for each query.

    Raises InputError if the channels are not a multiple of the heads.
    """

    Config: type[Component] = MultiQueryMultiHeadConfig

    def __init__(self, config: MultiQueryMultiHeadConfig | MultiHeadConfig, channels: int) -> None:
        super().__init__()
        self.heads, self.by_head, self.floor = config.heads, config.by_head, config.floor
        self.queries = 1 if isinstance(config, MultiHeadConfig) else config.queries
        if channels % self.heads:
            fitting = [str(heads) for heads in range(1, min(channels, 32) + 1) if channels % heads == 0]
            raise InputError(
                f"pooling {config.name}: the network gives it {channels} channels, which do not divide into "
                f"{self.heads} heads; heads that do: {', '.join(fitting)}"
            )
        self.size = 2 * self.queries * channels
        groups = self.heads * self.queries
        width = channels // self.heads if config.per_channel else 1
        self.attention = nn.Sequential(
            nn.Conv1d(channels, groups * config.hidden, 1, groups=self.heads),
            nn.Tanh(),
            nn.Conv1d(groups * config.hidden, groups * width, 1, groups=groups),
        )

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) to (batch, 2 · queries · channels): for each query means, then deviations."""
        attention = _attention(self.attention(x), weights).unflatten(1, (self.heads, self.queries, -1))
        values = x.float().unflatten(1, (self.heads, 1, -1))
        statistics = weighted_statistics(values, attention, self.floor)
        parts = [part.transpose(1, 2) for part in statistics]  # (batch, queries, heads, channels / heads)
        if not self.by_head:
            parts = [part.flatten(2) for part in parts]
        return torch.cat(parts, dim=-1).flatten(1)


class MultiHead(MultiQueryMultiHead):
    """One query per head."""

    Config = MultiHeadConfig


class XiVectorConfig(Component):
    """Posterior mean of a Gaussian, from frames with estimated uncertainties (Lee et al., SPL 2021)."""

    name: Literal["xi_vector"] = "xi_vector"
    hidden: int = Field(256, gt=0, description="hidden units of the network that estimates the precisions")
    deviation: bool = Field(False, description="append the deviation under the same weights")


class XiVector(Pooling):
    """φ = (Σ L_t z_t + L_p μ_p) / (Σ L_t + L_p): frames z_t of precision L_t, prior mean μ_p of precision L_p.

    Precisions are diagonal, L_t = softplus(network(z_t))². The prior is trained, starting from a standard Gaussian.
    """

    Config = XiVectorConfig

    def __init__(self, config: XiVectorConfig, channels: int) -> None:
        super().__init__()
        self.deviation = config.deviation
        self.size = 2 * channels if config.deviation else channels
        self.prior_mean = nn.Parameter(torch.zeros(1, channels))
        self.prior_logprec = nn.Parameter(torch.zeros(1, channels))
        self.precision = nn.Sequential(
            nn.Conv1d(channels, config.hidden, 1),
            nn.ReLU(),
            nn.BatchNorm1d(config.hidden),
            nn.Conv1d(config.hidden, channels, 1),
        )

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) to (batch, channels), or (batch, 2 channels) with the deviation."""
        raw = self.precision(x).float()
        # far below zero, log softplus(v) equals v, but softplus underflows
        log_precision = 2 * torch.where(raw > -15, F.softplus(raw.clamp(min=-15)).log(), raw)
        # the prior acts as an additional frame; the weights L / ΣL are a softmax of log L
        prior = [
            parameter.float().expand(x.shape[0], -1)[..., None] for parameter in (self.prior_mean, self.prior_logprec)
        ]
        values = torch.cat([x.float(), prior[0]], dim=-1)
        if weights is not None:
            log_precision = log_precision + weights.log()[:, None]
        posterior = torch.cat([log_precision, prior[1]], dim=-1).softmax(dim=-1)
        mean, deviation = weighted_statistics(values, posterior)
        return torch.cat([mean, deviation], dim=-1) if self.deviation else mean
