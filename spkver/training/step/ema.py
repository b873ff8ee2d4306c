"""Exponential moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spkver.schedules import SCHEDULES, Run
from spkver.training.config import EMAConfig


class EMA:
    """Average of the floating-point state of a module: parameters and running statistics of batch norms.

    After step n (from 0): average ← d·average + (1 - d)·weights, with d = decay, or with warm-up d = min(decay,
    (1 + n) / (10 + n)), so that the first steps have little weight later. With a schedule f, which needs the steps of
    the run, 1 - d is multiplied by f. Never waits for the device.
    """

    def __init__(self, config: EMAConfig, module: nn.Module, run: Run | None = None) -> None:
        self.config, self._steps = config, (run or Run()).steps or 1
        self._factor = None if config.schedule is None else SCHEDULES.build(config.schedule, run)
        # the state dict refers to the module's tensors, which the optimizer changes in-place
        self._own = {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
        self._average = {name: tensor.clone() for name, tensor in self._own.items()}

    def decay(self, step: int) -> float:
        """d after a step (from 0)."""
        decay = min(self.config.decay, (1 + step) / (10 + step)) if self.config.warm_up else self.config.decay
        return decay if self._factor is None else 1 - (1 - decay) * self._factor.at(step / self._steps)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the weights after a step (from 0)."""
        if self._own:
            torch._foreach_lerp_(list(self._average.values()), list(self._own.values()), 1 - self.decay(step))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the weights by the average within the context; they are restored exactly."""
        weights = {name: tensor.clone() for name, tensor in self._own.items()}
        _copy(self._average, self._own)
        try:
            yield
        finally:
            _copy(weights, self._own)

    def state(self) -> dict[str, Tensor]:
        """The average by the names of the module's state; not copied."""
        return dict(self._average)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore a `state`."""
        _copy(state, self._average)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
