"""A run that is asked to stop: SIGTERM, or SIGUSR1 as Slurm sends it before the time is up."""

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
)  # Windows has one of them


class Interrupt:
    """Whether somebody asked this run to stop; all processes get the same answer at the same step."""

    def __init__(self, world: World) -> None:
        self.signal = ""
        self._world = world
        self._flag = torch.zeros(1)
        self._told: Any = None

    def asked(self) -> bool:
        """Whether to stop now. With several processes: whether one was asked by the time of the last call.

        So nobody waits: what the processes tell each other travels during the step.
        """
        if self._world.size == 1:
            return bool(self.signal)
        stop = self.settle()
        if not stop:
            self._flag = torch.tensor([float(bool(self.signal))])
            self._told = distributed.all_reduce(self._flag, async_op=True)
        return stop

    def settle(self) -> bool:
        """Wait for what is on its way, and say what it told; before the end, as a thread of gloo works at it still.

        A thread that lets go of the flag while the interpreter ends takes the process down with it.
        """
        if self._told is None:
            return False
        self._told.wait()
        self._told = None
        return bool(self._flag)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals instead of dying of them; from a thread that is not the main one nothing is taken."""
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
