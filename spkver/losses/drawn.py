"""Random draws of a loss that depend only on a seed and the number of draws so far."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Drawn(nn.Module):
    """A source of random draws. The number of draws is part of the state, so a resumed run repeats its draws."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.step = 0

    def generator(self, *more: int, device: torch.device | str = "cpu") -> torch.Generator:
        """The random generator of the next draw; more: numbers that it also depends on."""
        entropy = [self.seed, self.step, *more]
        self.step += 1
        return torch.Generator(device).manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def get_extra_state(self) -> Tensor:
        """The number of draws so far."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: Tensor) -> None:
        """See get_extra_state."""
        self.step = int(state)
