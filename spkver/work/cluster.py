"""The engine Ray: workers on the machines of a Ray cluster, or on a cluster that is started on this machine.

Only Ray's core is used (actors). Each worker gets the function once and then one item at a time, so slow machines get
fewer items. If a worker or its machine dies, its item is given to another one, and a new worker is started where a core
is free. Results may arrive in any order; `spkver.work.parts` puts them in their places.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import socket
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, TypeVar

from spkver.errors import RunError, SpkverError, load_optional
from spkver.work.engine import Function

Item = TypeVar("Item")
Result = TypeVar("Result")

_TRIES = 4  # workers that may die on one item
_GPU_CORES = 8  # most cores for decoding beside a GPU
_PATIENCE = 30.0  # seconds without any worker before a message
_COMPARED = ("spkver", "numpy", "torch", "pyarrow")  # packages whose versions must be the same on all machines


class Ray:
    """A Ray cluster: that of RAY_ADDRESS, or one that is started on this machine and ends with this process.

    workers: by default one for each core of the cluster, or for each GPU if the function uses GPUs
    """

    shared = True

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers
        self._ray: Any = load_optional("ray", "cluster")

    def map(
        self, function: Function[Item, Result], items: Iterable[Item], *, gpu: bool = False
    ) -> Generator[tuple[int, Result], None, None]:
        """See Engine. Raises RunError if the cluster does not answer, or if workers die again and again."""
        self._connect()
        crew = _Crew(self._ray, function, gpu, self._workers, len(items) if isinstance(items, Sized) else None)
        try:
            yield from crew.map(items)
        finally:
            crew.end()

    def _connect(self) -> None:
        """Connect to the cluster, unless this process is connected already."""
        if self._ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        address = os.environ.get("RAY_ADDRESS", "")
        _check_address(address)
        # "local": without it, Ray looks for a cluster that somebody else started on this machine
        local = {"address": "local", "num_cpus": self._workers, "include_dashboard": False}
        try:
            with _quiet():
                self._ray.init(log_to_driver=False, logging_level="ERROR", **({} if address else local))
        except Exception as error:  # Ray raises many kinds
            raise RunError(f"{_place(address)}: {_first_line(error)}{_token_hint(error)}") from error


def _token_hint(error: Exception) -> str:
    """What to do about a cluster that requires a token, which Ray's own error does not say."""
    if not isinstance(error, ConnectionError) or "RAY_AUTH_MODE" in os.environ:
        return ""
    return "; if `ray start` said that token authentication is enabled, set RAY_AUTH_MODE=token"


class _Crew:
    """The workers of one call of `Ray.map`."""

    def __init__(self, ray: Any, function: Any, gpu: bool, workers: int | None, items: int | None) -> None:
        self._ray = ray
        resources = ray.cluster_resources()
        cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0)) if gpu else 0
        self._cores = min(_GPU_CORES, max(1, cores // gpus)) if gpus else 1
        self._wanted = max(1, min(workers or gpus or cores, items or sys.maxsize))
        self._actor = ray.remote(num_cpus=self._cores, num_gpus=1 if gpus else 0, max_restarts=0)(_Worker)
        try:
            self._function = ray.put(function)
        except ray.exceptions.RayError as error:
            raise RunError(f"Ray: {_first_line(error)}; give its object store more memory") from error
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}  # reference of the start: worker
        self._busy: dict[Any, tuple[Any, int, Any]] = {}  # reference of the result: worker, number, item
        self._failed_starts = 0

    def map(self, items: Iterable[Item]) -> Iterator[tuple[int, Any]]:
        """See Engine."""
        coming = enumerate(items)
        again: list[tuple[int, Item]] = []
        tries: dict[int, int] = {}
        left = True
        since = time.monotonic()
        while True:
            while self._idle and (left or again):
                numbered = again.pop(0) if again else next(coming, None)
                if numbered is None:
                    left = False
                    break
                worker = self._idle.pop()
                self._busy[worker.do.remote(numbered[1])] = (worker, *numbered)
            if not (left or again or self._busy):
                return
            if left or again:
                self._start()
            ready, _ = self._ray.wait([*self._busy, *self._starting], num_returns=1, timeout=_PATIENCE)
            if not (self._busy or ready):
                print(f"waiting for free cores of the Ray cluster ({time.monotonic() - since:.0f} s)", file=sys.stderr)  # noqa: T201
            for reference in ready:
                if reference in self._starting:
                    self._started(reference)
                    continue
                worker, number, item = self._busy.pop(reference)
                try:
                    result = self._ray.get(reference)
                except self._ray.exceptions.RayTaskError as error:
                    raise _cause(error) from None
                except self._ray.exceptions.RayError as error:  # the worker or its machine died
                    tries[number] = tries.get(number, 0) + 1
                    if tries[number] >= _TRIES:
                        raise RunError(
                            f"{_TRIES} workers died on part {number} (out of memory?; {_first_line(error)}); "
                            "run again to resume, possibly with fewer --jobs"
                        ) from error
                    again.append((number, item))
                    self._dismiss(worker)
                else:
                    self._idle.append(worker)
                    tries.pop(number, None)
                    yield number, result

    def end(self) -> None:
        """End the workers."""
        for worker in (*self._idle, *self._starting.values(), *(worker for worker, _, _ in self._busy.values())):
            self._dismiss(worker)

    def _start(self) -> None:
        """Start the workers that are missing. Those without a free core wait for one."""
        while len(self._idle) + len(self._starting) + len(self._busy) < self._wanted:
            worker = self._actor.remote(str(Path.cwd()), _versions(), self._cores)
            self._starting[worker.load.remote(self._function)] = worker

    def _started(self, reference: Any) -> None:
        worker = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= _TRIES + self._wanted:
                raise RunError(f"Ray: workers die when they start: {_first_line(error)}") from error
            self._dismiss(worker)
        else:
            self._failed_starts = 0
            self._idle.append(worker)

    def _dismiss(self, worker: Any) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker)


class _Worker:
    """A process on a machine of the cluster; it works in the folder of the driver."""

    def __init__(self, folder: str, versions: dict[str, str], cores: int) -> None:
        self._folder, self._versions, self._cores = folder, versions, cores

    def load(self, function: Any) -> None:
        """Get the function."""
        try:
            os.chdir(self._folder)
        except OSError as error:
            raise RunError(
                f"{self._folder}: not found on {platform.node()}; all machines need the same folders"
            ) from error
        for name, version in _versions().items():
            if version != self._versions[name]:
                raise RunError(
                    f"{name} {version} on {platform.node()}, {self._versions[name]} here; install the same version"
                )
        self._function = function

    def do(self, item: Any) -> Any:
        """The result for an item."""
        return self._function(item, self._cores)


def _versions() -> dict[str, str]:
    found = {}
    for name in _COMPARED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "(not installed)"
    return found


def _cause(error: Any) -> BaseException:
    """What the function raised, if it is an error for the user."""
    cause = error.cause
    return cause if isinstance(cause, SpkverError | OSError) else error


def _check_address(address: str) -> None:
    """Raise RunError if nothing answers at HOST:PORT; Ray would take a minute and many lines to say so."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise RunError(f"{_place(address)}: no answer ({error}); start Ray there, or unset RAY_ADDRESS") from error


def _place(address: str) -> str:
    return f"the Ray cluster at {address} (RAY_ADDRESS)" if address else "Ray"


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray prints about its start to standard output, where commands print results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
