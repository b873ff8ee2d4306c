"""Worker processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def available_cpus() -> int:
    """The number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(jobs: int) -> ProcessPoolExecutor:
    """A pool of `jobs` spawned processes that end with this one, even if this one is killed."""
    spawn = multiprocessing.get_context("spawn")  # forking a process with threads may deadlock
    return ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_live_with_parent)


def _live_with_parent() -> None:
    """Exit at once on Ctrl-C and when the parent ends; otherwise workers of a killed parent wait forever."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
