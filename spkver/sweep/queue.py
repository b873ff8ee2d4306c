"""Several runs at once, each in a process of its own, until all are done or the sweep is stopped."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from spkver import processes
from spkver.errors import StoppedError
from spkver.files import write_text
from spkver.sweep.plan import Run
from spkver.sweep.work import work
from spkver.training.monitoring.pace import duration
from spkver.training.parallel.distributed import ALONE
from spkver.training.parallel.interrupt import Interrupt

_LOOK = 0.2  # seconds between looks at the signal
_PATIENCE = 120.0  # seconds that a stopped run has to write its checkpoint


@dataclass
class Progress:
    """The number of runs that are done, and the time left.

    total: number of runs; done: of these, complete ones, also before this start
    """

    total: int
    done: int
    failed: int = 0
    _ended: int = 0
    _start: float = 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def line(self, run: Run, seconds: float, reason: str | None) -> str:
        """Count a run that has ended, and describe it; reason: why it failed."""
        self._ended += 1
        self.done += reason is None
        self.failed += reason is not None
        each = (time.monotonic() - self._start) / self._ended
        left = self.total - self.done - self.failed
        end = f"done in {duration(seconds)}" if reason is None else f"failed: {reason}"
        state = f"{self.done} of {self.total} runs done" + (f", {self.failed} failed" if self.failed else "")
        return f"{run.name}: {end}\n{state}, {3600 / max(each, 1e-9):.3g} runs/h, {duration(left * each)} left"


def work_through(
    runs: Iterator[Run],
    ended: Callable[[Run, str | None], None],
    *,
    points: tuple[str, ...],
    jobs: int,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Do the runs, `jobs` at a time. The next run is taken from the iterator when a process is free.

    ended: called with each run that has ended, and the reason if it failed
    Raises StoppedError, after the runs have written checkpoints, if this process gets SIGTERM or SIGUSR1.
    """
    interrupt = Interrupt(ALONE)
    running: dict[str, tuple[Run, BaseProcess, float]] = {}
    progress.begin()
    with interrupt.listening(), _threads(jobs), _stopped_at_the_end(running):
        while True:
            while len(running) < jobs and (run := next(runs, None)) is not None:
                run.failed.unlink(missing_ok=True)
                running[run.name] = run, processes.start(work, run, points), time.monotonic()
            if not running:
                return
            multiprocessing.connection.wait([process.sentinel for _, process, _ in running.values()], _LOOK)
            if interrupt.signal:
                break
            for name, (run, process, start) in list(running.items()):
                if process.exitcode is not None:
                    del running[name]
                    reason = _reason(run, process.exitcode)
                    ended(run, reason)
                    say(progress.line(run, time.monotonic() - start, reason))
    raise StoppedError(
        f"stopped by {interrupt.signal} with {progress.done} of {progress.total} runs done; the same command continues"
    )


def _reason(run: Run, code: int) -> str | None:
    """Why a run failed, or None."""
    if code == 0:
        return None
    if not run.failed.is_file():
        by = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        memory = ", perhaps for lack of memory" if code == -getattr(signal, "SIGKILL", 0) else ""
        write_text(run.failed, f"{by}{memory}; see {run.log}\n")
    return run.failed.read_text(encoding="utf-8").strip()


@contextlib.contextmanager
def _threads(jobs: int) -> Iterator[None]:
    """Divide the cores over the processes that are started, unless the environment says otherwise."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = before or str(max(1, processes.available_cpus() // jobs))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


@contextlib.contextmanager
def _stopped_at_the_end(running: dict[str, tuple[Run, BaseProcess, float]]) -> Iterator[None]:
    """Stop the processes that still run; a training first writes a checkpoint."""
    try:
        yield
    finally:
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.join(_PATIENCE)
            if process.exitcode is None:
                process.kill()
                process.join()
