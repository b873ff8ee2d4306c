"""An exponential moving average of the weights, which often errs less than the weights themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spkver.training.config import EMAConfig


class EMA:
    """The average of all that a module learns, and of the running statistics of its batch norms, on its device.

    After step n, from 0, average ← d·average + (1 - d)·weights, d = min(decay, (1 + n) / (10 + n)) with warm-up: the
    first steps, far from where the run will end, are soon forgotten. Nothing here waits for the device.
    """

    def __init__(self, config: EMAConfig, module: nn.Module) -> None:
        self.config = config
        # a state holds the module's own tensors, which steps change in place
        self._own = {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
        self._average = {name: tensor.clone() for name, tensor in self._own.items()}

    def decay(self, step: int) -> float:
        """d after a step, counted from 0."""
        return min(self.config.decay, (1 + step) / (10 + step)) if self.config.warm_up else self.config.decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are after a step, counted from 0."""
        if self._own:
            torch._foreach_lerp_(list(self._average.values()), list(self._own.values()), 1 - self.decay(step))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The average in place of the weights, which come back to the bit."""
        weights = {name: tensor.clone() for name, tensor in self._own.items()}
        _copy(self._average, self._own)
        try:
            yield
        finally:
            _copy(weights, self._own)

    def state(self) -> dict[str, Tensor]:
        """The average, by the names of the module's state; not copied."""
        return dict(self._average)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state`."""
        _copy(state, self._average)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
