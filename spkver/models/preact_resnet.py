"""ResNet with pre-activation blocks (He et al., ECCV 2016), as SpeechBrain's speaker ResNet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, Of
from spkver.models import POOLINGS, masks
from spkver.models.plane import NoAttention, PlaneNetwork, SqueezeExcitation, over_time, shortcut

BLOCKS = (3, 4, 6, 3)


class PreActResNetConfig(Component):
    """The defaults are SpeechBrain's network, with squeeze and excitation in the first two stages."""

    name: Literal["preact_resnet"] = "preact_resnet"
    channels: tuple[int, int, int, int] = Field((128, 128, 256, 256), description="widths of the four stages")
    dim: int = Field(256, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(
        default={"name": "attentive_statistics", "activation": "relu_norm", "floor": 1e-5}, validate_default=True
    )


class PreActBlock(nn.Module):
    """Two 3 × 3 convolutions and a 1 × 1 convolution, each after norm and ReLU; gate; shortcut."""

    def __init__(self, before: int, width: int, stride: int | tuple[int, int], gate: nn.Module) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width, 1, bias=False)
        self.se = gate
        self.shortcut = shortcut(before, width, stride)
        self.step = over_time(stride)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, before, bins, frames) to (batch, width, bins / stride, frames / stride)."""
        out = self.conv1(masks.kept(F.relu(self.bn1(x)), mask))
        mask = masks.narrowed(mask, self.step)
        out = self.conv2(masks.kept(F.relu(self.bn2(out)), mask))
        return self.se(self.conv3(F.relu(self.bn3(out))), mask) + self.shortcut(x)


class PreActResNet(PlaneNetwork):
    """Four stages; batch norms after pooling and after the embedding."""

    Config = PreActResNetConfig

    def __init__(self, config: PreActResNetConfig, bins: int) -> None:
        def block(before: int, width: int, stride: int | tuple[int, int], stage: int) -> nn.Module:
            gate = SqueezeExcitation(width, 1) if stage <= 2 else NoAttention()
            return PreActBlock(before, width, stride, gate)

        super().__init__(
            bins, widths=config.channels, blocks=BLOCKS, block=block, pooling=config.pooling, dim=config.dim
        )
        self.norm_stats = nn.BatchNorm1d(self.pooling.size)
        self.norm_embed = nn.BatchNorm1d(config.dim)

    def embedding(self, pooled: Tensor) -> Tensor:
        """(batch, pooling size) to (batch, dim)."""
        return self.norm_embed(self.seg_1(self.norm_stats(pooled)))
