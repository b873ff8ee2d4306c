"""A share of the other classes, drawn anew at each step: PartialFC (An et al., CVPR 2022).

The classes of the batch are always there, and the rest is drawn evenly among the others. The loss is then that of the
drawn classes alone, with no correction for those left out, as in the paper; accuracies are over the drawn ones too.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from spkver.config import Config


class SampleConfig(Config):
    """A share of the classes in each step of training; all of them in evaluation."""

    share: float = Field(gt=0, lt=1)
    """of all classes, those of the batch among them; never fewer than a batch has samples, plus one"""
    seed: int = Field(default=0, ge=0)
    """of the draws"""


class Sample(nn.Module):
    """Draws the classes of a step; what is drawn follows from the seed, the step and the classes it is drawn from.

    The step is the number of draws so far, which the state holds, so that a run that is resumed draws the same.
    """

    def __init__(self, config: SampleConfig, held: range) -> None:
        super().__init__()
        self.config = config
        self.held = held
        self.step = 0

    def forward(self, y: Tensor) -> Tensor:
        """The classes of a step, sorted, (K,) int64, counted from the first held; y outside of them is passed over."""
        classes = len(self.held)
        entropy = [self.config.seed, self.step, self.held.start]
        generator = torch.Generator(y.device).manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        self.step += 1
        # the batch's own classes are above every draw; one column more takes what is not held
        draws = torch.rand(classes + 1, generator=generator, device=y.device)
        draws[torch.where((y >= 0) & (y < classes), y, classes)] = 2.0
        number = min(classes, max(math.ceil(self.config.share * classes), len(y) + 1))
        return draws[:classes].topk(number).indices.sort().values

    def get_extra_state(self) -> Tensor:
        """The number of draws so far."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: Tensor) -> None:
        """See get_extra_state."""
        self.step = int(state)


def position(y: Tensor, drawn: Tensor, classes: int) -> Tensor:
    """Where each class y of the batch is among those drawn; -1 for one that is not in [0, classes)."""
    return torch.where((y >= 0) & (y < classes), torch.searchsorted(drawn, y), -1)
