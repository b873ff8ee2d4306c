"""The speed of a run: utterances per second, time spent waiting for data, remaining time."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import time
from collections.abc import Iterator

import torch

from spkver.training.data.batches import Prefetcher

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MOST = 2**31 - 1  # mallopt takes an int
_USUAL = {_M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 64 << 20}  # bytes; the largest that glibc itself goes to


@contextlib.contextmanager
def fast_cpu(threads: int | None) -> Iterator[None]:
    """Set the number of threads, flush denormal numbers to zero, and keep the memory of freed tensors for new ones.

    Arithmetic with denormal numbers is slow on a CPU.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    torch.set_flush_denormal(True)
    try:
        with _freed_memory_kept():
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


@contextlib.contextmanager
def _freed_memory_kept() -> Iterator[None]:
    """Let the allocator of glibc keep freed memory until the end of the context.

    It otherwise returns large blocks to the system, which clears every page again when the next step asks for them: 6.4
    and 9.7 s of system time instead of 1.5 s (`time python tests/benchmarks/training.py --models xvector --seconds 1
    --batch 64 --steps 20 --windows 3 --plain --bare-seconds 4`, 96 to 117 s in all).
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    for threshold in _USUAL:
        libc.mallopt(threshold, _MOST)
    try:
        yield
    finally:
        for threshold, value in _USUAL.items():
            libc.mallopt(threshold, value)
        libc.malloc_trim(0)


class Clock:
    """Utterances per second and the share of time spent waiting for data. Time in `paused` does not count.

    steps: number of steps since the last call of `rates`, counted by the caller
    """

    def __init__(self, batches: Prefetcher) -> None:
        self._batches = batches
        self.steps = 0
        self._made, self._pauses, self._per_step = 0, 0.0, 0.0
        self._restart()

    def _restart(self) -> None:
        self.steps, self._waited, self._start = 0, self._batches.waited, time.perf_counter()

    def rates(self, batch_size: int) -> dict[str, float]:
        """The rates since the last call."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        self._made += self.steps
        self._per_step = seconds / max(self.steps, 1)
        rates = {
            "utterances_per_second": self.steps * batch_size / seconds,
            "waiting": (self._batches.waited - self._waited) / seconds,
        }
        self._restart()
        return rates

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time within the context."""
        start = time.perf_counter()
        yield
        pause = time.perf_counter() - start
        self._start += pause
        self._pauses += pause

    def left(self, steps: int) -> float:
        """Estimated seconds for more steps, at the rate of the last call and with the mean pause per step so far."""
        return steps * (self._per_step + self._pauses / max(self._made, 1))


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: `2:02:02`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
