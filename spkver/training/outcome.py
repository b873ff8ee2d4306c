"""Whether a step stayed finite, asked without stopping the device."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from spkver.errors import RunError
from spkver.training.batches import Batch, Sampler


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Whether a step stayed finite. Asking waits for that step, not for those that the device was given after it."""

    step: int
    batch: Batch
    finite: Tensor
    copied: torch.cuda.Event | None

    @classmethod
    def of(cls, step: int, batch: Batch, finite: Tensor) -> Outcome:
        """Of a step whose numbers are on their way."""
        copied = None
        if finite.is_cuda:
            finite = finite.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        return cls(step, batch, finite, copied)

    def check(self, sampler: Sampler) -> None:
        """Raises RunError, naming the utterances of the batch, for a step that did not stay finite."""
        if self.copied is not None:
            self.copied.synchronize()
        if not self.finite:
            ids = " ".join(sampler.pack.ids[row] for row in self.batch.rows)
            raise RunError(
                f"the loss or its gradient is not finite at step {self.step + 1}; lower the learning rate, or look at "
                f"the utterances of its batch: {ids}"
            )
