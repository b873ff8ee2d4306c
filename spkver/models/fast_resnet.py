"""Fast ResNet-34 (Chung et al., Interspeech 2020): narrow, with frequency halved by the first convolution."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Component, Of
from spkver.models import POOLINGS
from spkver.models.base import FrameNetwork, Pooling
from spkver.models.resnet import BasicBlock, ResNetConfig

BLOCKS = (3, 4, 6, 3)
STRIDES = (1, 2, 2, 1)


class FastResNetConfig(Component):
    """The defaults are voxceleb_trainer's ResNetSE34L."""

    name: Literal["fast_resnet"] = "fast_resnet"
    widths: tuple[int, int, int, int] = Field((16, 32, 64, 128), description="channels of the stages")
    reduction: int = Field(8, gt=0, description="reduction of the channels inside squeeze and excitation")
    dim: int = Field(512, gt=0, description="dimension of the embedding")
    pooling: Annotated[Component, Of(POOLINGS)] = Field(
        default={"name": "self_attentive", "hidden": 128}, validate_default=True
    )


class FastResNet(FrameNetwork):
    """Stem, four stages of blocks with squeeze and excitation, mean over frequency, pooling, affine embedding."""

    Config = FastResNetConfig
    min_frames = step = 4  # two halvings of the time axis

    def __init__(self, config: FastResNetConfig, bins: int) -> None:
        super().__init__()
        self.dim = config.dim
        before = config.widths[0]
        self.conv1 = nn.Conv2d(1, before, 7, (2, 1), 3, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        of_blocks = ResNetConfig(order="relu_norm", attention="se", reduction=config.reduction)
        for number, (width, count, stride) in enumerate(zip(config.widths, BLOCKS, STRIDES), start=1):
            stage = [BasicBlock(before, width, stride, of_blocks)]
            stage += [BasicBlock(width, width, 1, of_blocks) for _ in range(count - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            before = width
        self.pooling: Pooling = POOLINGS.build(config.pooling, before)
        self.fc = nn.Linear(self.pooling.size, config.dim)

    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """See FrameNetwork.trunk."""
        x = F.relu(self.bn1(self.conv1(features.transpose(1, 2).unsqueeze(1))))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return torch.mean(x, dim=2)

    def embedding(self, pooled: Tensor) -> Tensor:
        """See FrameNetwork.embedding."""
        return self.fc(pooled)
