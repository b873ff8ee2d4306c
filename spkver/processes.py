"""Worker processes that end with their parent, and threads that work ahead."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # items ahead of each thread


def available_cpus() -> int:
    """The number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(jobs: int, begin: Callable[..., None] | None = None, *args: Any) -> ProcessPoolExecutor:
    """A pool of `jobs` spawned processes that end with this one, even if this one is killed.

    begin: called as `begin(*args)` in each process
    """
    spawn = multiprocessing.get_context("spawn")  # forking a process with threads may deadlock
    return ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_begin_worker, initargs=(begin, *args))


def start(work: Callable[..., None], *args: Any) -> BaseProcess:
    """Start a spawned process that calls `work(*args)` and ends with this one.

    Ctrl-C is left to this process. SIGTERM raises SystemExit there, so that it cleans up.
    """
    process = multiprocessing.get_context("spawn").Process(target=_begin, args=(work, *args))
    process.start()
    return process


def _begin(work: Callable[..., None], *args: Any) -> None:
    _live_with_parent(signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    work(*args)


def _live_with_parent(on_interrupt: signal.Handlers = signal.SIG_DFL) -> None:
    """Exit when the parent ends, and by default at once on Ctrl-C; workers of a killed parent would wait forever."""
    signal.signal(signal.SIGINT, on_interrupt)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


@contextlib.contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """The threads of a generator. At its end they are not waited for.

    The garbage collector may end an abandoned generator inside a thread that is starting or ending. Joining another
    thread there would deadlock.
    """
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def prefetched(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; a thread computes the next one ahead."""
    end = object()
    with _threads(1) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]


def ahead(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[tuple[Item, Result]]:
    """Each item with the result of `work`, in order; threads work ahead (decoding and products release the GIL)."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with _threads(threads) as pool:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > _AHEAD * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products use one thread each, because their last bits depend on the number of threads.

    Work is spread over the cores by computing several products at a time.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
    try:
        with _blas(tuple(name for name in ("numpy", "scipy.linalg", "torch") if name in sys.modules)).limit(limits=1):
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


@functools.lru_cache
def _blas(loaded: tuple[str, ...]) -> ThreadpoolController:
    """The libraries of matrix products that these modules have loaded; to find them takes a tenth of a second."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _begin_worker(begin: Callable[..., None] | None, *args: Any) -> None:
    _live_with_parent()
    if begin is not None:
        begin(*args)


def _exit_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
