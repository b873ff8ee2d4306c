"""Engines: where the parts of a piece of work are made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from spkver.errors import InputError, RunError, nearest
from spkver.processes import available_cpus, process_pool

Item = TypeVar("Item")
Result = TypeVar("Result")

Function = Callable[[Item, int], Result]
"""A function of an item and of the number of cores that it may use. Workers get it once, by pickling, and keep it."""

ENGINES = ("local", "ray")
_WAITING = 2  # items sent ahead to each process


class Engine(Protocol):
    """Applies a function to items, in this process or elsewhere."""

    shared: bool  # whether the workers may be on other machines

    def map(
        self, function: Function[Item, Result], items: Iterable[Item], *, gpu: bool = False
    ) -> Generator[tuple[int, Result], None, None]:
        """The number of each item and its result, in order of completion. Items are taken as they are needed.

        Close it if not all results are taken: that ends the workers.

        gpu: the function uses a GPU if there is one
        """


class Local:
    """This machine.

    jobs: number of processes; with 1, the work is done in this process
    threads: number of cores that the function may use in each process
    """

    shared = False

    def __init__(self, jobs: int = 1, threads: int = 1) -> None:
        if jobs < 1:
            raise InputError(f"{jobs} processes: at least 1 needed")
        self._jobs, self._threads = jobs, threads

    def map(
        self, function: Function[Item, Result], items: Iterable[Item], *, gpu: bool = False
    ) -> Generator[tuple[int, Result], None, None]:
        """See Engine."""
        if self._jobs > 1:
            yield from self._in_processes(function, items)
            return
        for number, item in enumerate(items):
            yield number, function(item, self._threads)

    def _in_processes(self, function: Function[Item, Result], items: Iterable[Item]) -> Iterator[tuple[int, Result]]:
        pool = process_pool(self._jobs, _keep, function, self._threads)
        waiting: dict[Future[Any], int] = {}
        coming = enumerate(items)
        try:
            while True:
                for number, item in coming:
                    waiting[pool.submit(_apply, item)] = number
                    if len(waiting) >= self._jobs * _WAITING:
                        break
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool as error:
            message = "a process was killed (out of memory?); run again to resume, possibly with fewer --jobs"
            raise RunError(message) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_kept: tuple[Function[Any, Any], int] | None = None  # the function of this worker process, and its cores


def _keep(function: Function[Any, Any], cores: int) -> None:
    global _kept
    _kept = function, cores


def _apply(item: Any) -> Any:
    assert _kept is not None
    function, cores = _kept
    return function(item, cores)


def engine(name: str, jobs: int | None = None, *, threads: bool = False) -> Engine:
    """The engine of that name.

    jobs: number of workers; by default all cores of the machine or cluster
    threads: the function uses several cores by itself, so one process is enough on this machine
    Raises InputError for an unknown name, or if Ray is not installed.
    """
    if name == "local":
        cores = jobs or available_cpus()
        return Local(1, cores) if threads else Local(cores)
    if name != "ray":
        raise InputError(f"unknown engine '{name}'{nearest(name, ENGINES)}")
    from spkver.work.cluster import Ray

    return Ray(jobs)
