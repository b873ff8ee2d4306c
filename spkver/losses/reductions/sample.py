"""A random share of the classes in each step: PartialFC (An et al., CVPR 2022).

The classes of the batch are always included, the others are drawn uniformly. The loss and the accuracies are those of
the drawn classes, without a correction for the others, as in the paper.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from spkver.config import Config
from spkver.losses.drawn import Drawn


class SampleConfig(Config):
    """A random share of the classes in each training step; all classes in evaluation."""

    share: float = Field(gt=0, lt=1)
    """share of all classes, including those of the batch; at least one class more than the batch has samples"""
    seed: int = Field(default=0, ge=0)
    """seed of the random draws"""


class Sample(Drawn):
    """Draws the classes of a step, depending on the seed, the step and the range of classes only."""

    def __init__(self, config: SampleConfig, held: range) -> None:
        super().__init__(config.seed)
        self.config = config
        self.held = held

    def forward(self, y: Tensor) -> Tensor:
        """The classes of a step, sorted, int64 (K,), relative to the first one held. Labels of others are ignored."""
        classes = len(self.held)
        generator = self.generator(self.held.start, device=y.device)
        # classes of the batch are above all draws; an extra column takes labels outside of the range
        draws = torch.rand(classes + 1, generator=generator, device=y.device)
        draws[torch.where((y >= 0) & (y < classes), y, classes)] = 2.0
        number = min(classes, max(math.ceil(self.config.share * classes), len(y) + 1))
        return draws[:classes].topk(number).indices.sort().values


def position(y: Tensor, drawn: Tensor, classes: int) -> Tensor:
    """The position of each class y among the drawn ones; -1 for classes outside of [0, classes)."""
    return torch.where((y >= 0) & (y < classes), torch.searchsorted(drawn, y), -1)
