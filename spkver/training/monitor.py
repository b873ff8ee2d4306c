"""The numbers of a run: averaged on the device between log lines, then a line, `metrics.jsonl` and TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spkver.files import write_text
from spkver.training.log import METRICS, shown


class Averages:
    """Means of named scalars over steps, kept on the device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, **values: Tensor) -> None:
        """Add the scalars of one step."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.detach().clone()
        self._steps += 1

    def read(self) -> dict[str, float]:
        """The means since the last reading."""
        if not self._steps:
            return {}
        means = (torch.stack(list(self._sums.values())).double() / self._steps).tolist()
        named = dict(zip(self._sums, means))
        self._sums, self._steps = {}, 0
        return named

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, so that a resumed run logs the same means."""
        return {**self._sums, "steps": torch.tensor(self._steps)} if self._steps else {}

    def restore(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Go on from a `state`."""
        self._sums = {name: tensor.to(device) for name, tensor in state.items()}
        self._steps = int(self._sums.pop("steps", torch.tensor(0)))


class Monitor:
    """Writes the records of a run. On a resumed run, records after the step it goes on from are dropped."""

    def __init__(self, folder: Path, first_step: int, say: Callable[[str], None]) -> None:
        self.say = say
        self._path = folder / METRICS
        kept = _records(self._path) if first_step else []
        write_text(self._path, "".join(json.dumps(one) + "\n" for one in kept if one["step"] <= first_step))
        self._events = _event_writer(folder, first_step, say)

    def record(self, step: int, steps: int, values: dict[str, float], remark: str = "") -> None:
        """One record: a line for people, one for programs, points for TensorBoard."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        numbers = [shown(name, value) for name, value in values.items()]
        self.say("  ".join([f"step {step}/{steps}", *numbers, *([remark] if remark else [])]))

    def close(self) -> None:
        """Flush what is open."""
        self._events.close()


def _records(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file (a killed run may have left half a line)."""
    records = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records


class _NoEvents:
    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Nowhere to write."""

    def close(self) -> None:
        """Nothing to close."""


def _event_writer(folder: Path, first_step: int, say: Callable[[str], None]) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        say("no TensorBoard events: tensorboardX is not installed (pip install 'spkver[tensorboard]')")
        return _NoEvents()
    return SummaryWriter(str(folder / "events"), purge_step=first_step + 1 if first_step else None)
