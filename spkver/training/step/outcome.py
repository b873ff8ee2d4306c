"""The outcome of a step, and the handling of non-finite losses and gradients without waiting for the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from spkver.errors import RunError
from spkver.training.data.batches import Sampler
from spkver.training.parallel.distributed import World


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a step. `stayed_finite` waits for that step only, not for later ones.

    values: scalars of the global batch, by their names in the log; finite: bool scalar, the same on all processes
    """

    step: int
    values: dict[str, Tensor]
    finite: Tensor
    _copied: Tensor
    _event: torch.cuda.Event | None

    @classmethod
    def of(cls, step: int, values: dict[str, Tensor], finite: Tensor) -> Outcome:
        """The outcome of a step that may not be complete on the device."""
        if not finite.is_cuda:
            return cls(step, values, finite, finite, None)
        copied, event = finite.to("cpu", non_blocking=True), torch.cuda.Event()
        event.record()
        return cls(step, values, finite, copied, event)

    def stayed_finite(self) -> bool:
        """Whether loss and gradient were finite; if not, the step was skipped."""
        if self._event is not None:
            self._event.synchronize()
        return bool(self._copied)


class Guard:
    """Skips the optimizer step if loss or gradient are not finite.

    Then weights, optimizer state and running statistics of batch norms stay unchanged. A fused optimizer decides on its
    device; for others, the host waits for the result, which costs nothing on a CPU.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
        self.optimizer = optimizer
        self.fused = bool(optimizer.defaults.get("fused"))
        self._buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        self._kept = torch.empty(0)
        if self.fused and optimizer.defaults.get("momentum"):
            # skipping the first step would leave the momentum buffer uninitialised
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def before(self) -> None:
        """Call before the forward pass, which changes the running statistics."""
        self._kept = self._flat()

    def update(self, finite: Tensor) -> None:
        """Make the optimizer step if `finite`."""
        if self.fused:
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.optimizer.step()
            self._restore(finite)
        elif finite:
            self.optimizer.step()
        else:
            self._restore(finite)

    def _restore(self, finite: Tensor) -> None:
        if not self._buffers:
            return
        flat = torch.where(finite, self._flat(), self._kept)
        parts = flat.split([buffer.numel() for buffer in self._buffers])
        torch._foreach_copy_(self._buffers, [part.view_as(own) for part, own in zip(parts, self._buffers)])

    def _flat(self) -> Tensor:
        return torch.cat([buffer.flatten() for buffer in self._buffers]) if self._buffers else torch.empty(0)


class SkippedSteps:
    """Counts the skipped steps of the whole run, and ends it if there are too many."""

    def __init__(self, most: int, sampler: Sampler, world: World, say: Callable[[str], None]) -> None:
        self.count = 0
        self._most, self._sampler, self._world, self._say = most, sampler, world, say
        self._pending: list[Outcome] = []

    def counted(self) -> dict[str, float]:
        """The count for the log, if there are any."""
        return {"skipped": self.count} if self.count else {}

    def add(self, outcome: Outcome) -> None:
        """Add a step that may not be complete on the device."""
        self._pending.append(outcome)

    def look(self, *, all_: bool) -> None:
        """Check the outcomes of the added steps: of all, or of all but the last, which the device may still compute.

        Raises RunError if too many were skipped, naming the utterances of the batch.
        """
        number = len(self._pending) if all_ else len(self._pending) - 1
        complete, self._pending = self._pending[:number], self._pending[number:]
        for outcome in complete:
            if not outcome.stayed_finite():
                self._skipped(outcome.step)

    def _skipped(self, step: int) -> None:
        self.count += 1
        rows = np.concatenate(self._world.gather(self._sampler.rows(step)))
        ids = " ".join(self._sampler.pack.ids[row] for row in rows.tolist())
        what = f"the loss or its gradient is not finite at step {step + 1}"
        if self.count > self._most:
            before = f" ({self.count} steps in total, train.max_skipped is {self._most})" if self._most else ""
            with self._world.together():
                raise RunError(f"{what}{before}; lower the learning rate, or check the utterances of its batch: {ids}")
        self._say(f"warning: {what}, which is skipped ({self.count} of at most {self._most}); its batch: {ids}")
