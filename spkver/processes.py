"""Worker processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any


def available_cpus() -> int:
    """The number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(jobs: int) -> ProcessPoolExecutor:
    """A pool of `jobs` spawned processes that end with this one, even if this one is killed."""
    spawn = multiprocessing.get_context("spawn")  # forking a process with threads may deadlock
    return ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_live_with_parent)


def start(work: Callable[..., None], *args: Any) -> BaseProcess:
    """Start a spawned process that calls `work(*args)` and ends with this one. On Ctrl-C only this one is told."""
    process = multiprocessing.get_context("spawn").Process(target=_begin, args=(work, *args))
    process.start()
    return process


def _begin(work: Callable[..., None], *args: Any) -> None:
    _live_with_parent(signal.SIG_IGN)
    work(*args)


def _live_with_parent(on_interrupt: signal.Handlers = signal.SIG_DFL) -> None:
    """Exit when the parent ends, and by default at once on Ctrl-C; workers of a killed parent would wait forever."""
    signal.signal(signal.SIGINT, on_interrupt)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
