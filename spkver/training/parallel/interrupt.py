"""Stop a run on SIGTERM, or on SIGUSR1, which Slurm sends before the time limit."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed

from spkver.training.parallel.distributed import World

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)
)  # Windows has no SIGUSR1


class Interrupt:
    """Whether the run was asked to stop. All processes get the same answer at the same step."""

    def __init__(self, world: World) -> None:
        self.signal = ""
        self._world = world
        self._flag = torch.zeros(1)
        self._told: Any = None

    def asked(self) -> bool:
        """Whether to stop now. With several processes: whether any was asked before the previous call.

        The answer is exchanged during the step, so no process waits for it.
        """
        if self._world.size == 1:
            return bool(self.signal)
        stop = self.settle()
        if not stop:
            self._flag = torch.tensor([float(bool(self.signal))])
            self._told = distributed.all_reduce(self._flag, async_op=True)
        return stop

    def settle(self) -> bool:
        """Wait for the pending all-reduce and return its result.

        Call it before exit: a thread of gloo that releases the flag during interpreter shutdown aborts the process.
        """
        if self._told is None:
            return False
        self._told.wait()
        self._told = None
        return bool(self._flag)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within the context. Outside of the main thread, signals are not handled."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: Any) -> None:
        self.signal = self.signal or signal.Signals(number).name
