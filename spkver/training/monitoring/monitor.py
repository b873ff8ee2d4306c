"""The numbers of a run: averaged on the device between log lines, then printed and passed to the writers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from spkver.training.monitoring.log import glance, line
from spkver.training.monitoring.writers import Writer


class Averages:
    """Means of named scalars over steps, computed on the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps: Tensor | None = None

    def add(self, finite: Tensor, values: dict[str, Tensor]) -> None:
        """Add the scalars of a step unless it was skipped. finite: bool scalar on their device."""
        made = {name: torch.where(finite, value.detach(), 0) for name, value in values.items()}
        rest = {name: total for name, total in self._sums.items() if name not in made}
        # in the order of the step's values, because a checkpoint does not keep the order
        self._sums = {name: self._sums.get(name, 0) + value for name, value in made.items()} | rest
        self._steps = finite.long() if self._steps is None else self._steps + finite

    def read(self) -> dict[str, float]:
        """The means since the last call; empty if there were no steps."""
        steps = 0 if self._steps is None else int(self._steps)
        means = (torch.stack(list(self._sums.values())).double() / steps).tolist() if steps else []
        named = dict(zip(self._sums, means))
        self._sums, self._steps = {}, None
        return named

    def state(self) -> dict[str, Tensor]:
        """The state for a checkpoint, so that a resumed run logs the same means."""
        return {} if self._steps is None else {**self._sums, "steps": self._steps}

    def restore(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Restore a `state`."""
        self._sums = {name: tensor.to(device) for name, tensor in state.items()}
        self._steps = self._sums.pop("steps", None)


class Monitor:
    """Prints the records of a run and passes them to the writers."""

    def __init__(self, say: Callable[[str], None], writers: Sequence[Writer] = ()) -> None:
        self.say = say
        self._writers = writers
        self._latest: dict[str, float] = {}

    def record(self, step: int, steps: int, values: Mapping[str, float], remark: str = "") -> None:
        """Print and write the numbers of a step."""
        for writer in self._writers:
            writer.write(step, values)
        self._latest.update(values)
        self.say("  ".join([f"step {step}/{steps}", *line(values), *([remark] if remark else [])]))

    def glance(self) -> str:
        """The latest values of the most important numbers, for the progress bar."""
        return glance(self._latest)

    def close(self) -> None:
        """Close the writers."""
        for writer in self._writers:
            writer.close()
