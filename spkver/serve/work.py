"""Bounds on the work of a process, and on the requests of a tenant."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from spkver.serve import metrics
from spkver.serve.config import Limits
from spkver.serve.problems import Refused

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Places:
    """Threads that work on requests, and the requests that wait for one."""

    def __init__(self, limits: Limits) -> None:
        self._running, self._waiting = limits.running, limits.waiting
        self._threads = ThreadPoolExecutor(limits.running, "work")
        self._taken = 0
        self._alone = asyncio.Semaphore(1)

    async def run(self, work: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """The result of `work` in a thread. Raises Refused (503) if too many wait already."""
        if self._taken >= self._running + self._waiting:
            raise Refused(503, "the server is busy: try again", retry=1)
        self._taken += 1
        self._report()
        future = asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))
        future.add_done_callback(self._give_back)  # also if the client goes away before the work ends
        return await asyncio.shield(future)

    async def run_alone(self, work: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """As `run`, for long work, one at a time, so that other threads stay free. Raises Refused (503) if one runs."""
        if self._alone.locked():
            raise Refused(503, "the server is busy with another recording of this length: try again", retry=10)
        async with self._alone:
            return await self.run(work, *args, **kwargs)

    def _give_back(self, done: object) -> None:
        self._taken -= 1
        self._report()

    def _report(self) -> None:
        metrics.RUNNING.set(min(self._taken, self._running))
        metrics.WAITING.set(max(0, self._taken - self._running))


class Rates:
    """Requests per minute of each tenant, counted over all processes (a token bucket of one minute)."""

    def __init__(self, tenants: Sequence[str], per_minute: float) -> None:
        self._places = {tenant: place for place, tenant in enumerate(tenants)}
        self._most = max(1.0, per_minute)
        self._per_second = per_minute / 60
        # for each tenant: requests left, and when that was counted
        now = time.monotonic()
        self._left = multiprocessing.get_context("spawn").Array("d", [self._most, now] * len(tenants))

    def take(self, tenant: str) -> None:
        """Count a request. Raises Refused (429) if there were too many."""
        left, place, now = self._left, 2 * self._places[tenant], time.monotonic()
        with left.get_lock():
            have = min(self._most, left[place] + max(0.0, now - left[place + 1]) * self._per_second)
            enough = have >= 1
            left[place], left[place + 1] = have - enough, now
        if not enough:
            raise Refused(429, "too many requests: slow down", retry=(1 - have) / self._per_second)
