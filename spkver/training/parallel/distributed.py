"""Several processes that train one model: who they are, what they tell each other, and how they end together.

`torchrun` starts the processes and says in their environment who they are; without it there is one, and nothing here
does anything. Numbers travel through gloo between CPUs and NCCL between GPUs.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from spkver.encoder import pick_device
from spkver.errors import InputError, RunError, SpkverError, StoppedError

T = TypeVar("T")

FAILED = "spkver/failed"  # the key under which the first process that fails leaves its rank


@dataclass
class World:
    """The processes of a run, as this one of them sees it; by default it is alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _store: distributed.Store | None = field(default=None, repr=False)
    _agreed: bool = field(default=False, repr=False)

    @classmethod
    def from_environment(cls) -> World:
        """What torchrun has set. Raises InputError for an environment that is not whole."""
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return cls()
        try:
            names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
            rank, size, local_rank, local_size = (int(os.environ[name]) for name in names)
        except (KeyError, ValueError) as error:
            raise InputError(
                f"the environment has RANK and WORLD_SIZE, but not all that torchrun sets ({error}); "
                "start with torchrun, or unset them"
            ) from error
        return cls(rank, size, local_rank, local_size)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes, locks and speaks."""
        return self.rank == 0

    @property
    def node(self) -> int:
        """The number of this process's machine."""
        return self.rank // self.local_size

    @property
    def nodes(self) -> int:
        """The number of machines."""
        return self.size // self.local_size

    def device(self, name: str) -> torch.device:
        """The device of this process: of several on a machine each has a GPU of its own. Raises InputError."""
        if self.size == 1 or name == "cpu" or not torch.cuda.is_available():
            return pick_device(name)
        if name not in ("auto", "cuda"):
            raise InputError(f"device '{name}' is one, and there are {self.size} processes; set train.device to auto")
        device = pick_device(f"cuda:{self.local_rank}")
        torch.cuda.set_device(device)
        return device

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: T) -> T:
        """The value that the main process has."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Work that all processes do at the same place: where one fails, all end, and the main one says why."""
        failure: Exception | None = None
        try:
            yield
        except (SpkverError, OSError) as error:
            if self.size == 1:
                raise
            failure = error
        if self.size > 1:
            self._end_where_one_failed(failure)

    def _end_where_one_failed(self, failure: Exception | None) -> None:
        mine = failure and (str(self._named(failure)), getattr(failure, "exit_code", 1))
        failed = [one for one in self.gather(mine) if one]
        if not failed:
            return
        self._agreed = True
        message, code = failed[0]
        if not self.main:
            raise SystemExit(code) from failure
        if failure is not None:
            raise failure
        raise (InputError if code == InputError.exit_code else RunError)(message)

    def _named(self, error: Exception) -> Exception:
        """The error with the process that it came from, where that is not the one that people look at."""
        if self.main:
            return error
        kind = type(error) if isinstance(error, SpkverError) else RunError
        return kind(f"process {self.rank} of {self.size} on {platform.node()}: {error}")

    def _fail(self, error: BaseException) -> BaseException:
        """What a failure at a place where the others did not look for it makes of this process.

        The first to fail says why, before it ends and its connections close; the others, who then lose it, are silent.
        """
        if isinstance(error, StoppedError):  # all of them
            self._agreed = True
            return error if self.main else SystemExit(error.exit_code)
        if self._agreed or isinstance(error, SystemExit):
            return error
        try:
            assert self._store is not None
            first = self._store.compare_set(FAILED, "", str(self.rank)) == str(self.rank).encode()
        except RuntimeError:  # the store went with its process
            first = True
        if not first:
            return SystemExit(getattr(error, "exit_code", 1))
        if isinstance(error, RuntimeError) and _is_lost(error):
            return RunError(
                f"process {self.rank} of {self.size} on {platform.node()} lost another, which was killed, whose "
                f"machine is gone, or which did not answer ({str(error).splitlines()[0][:200]}); go on with --resume"
            )
        return self._named(error) if isinstance(error, SpkverError | OSError) else error


ALONE = World()


@contextlib.contextmanager
def joined(device: str, minutes: float) -> Iterator[World]:
    """The world of a run, joined; `minutes` is how long a process waits for another before it gives up.

    An error of one process ends all: that one says why, the others leave without a word.
    """
    world = World.from_environment()
    if world.size == 1:
        yield world
        return
    timeout = timedelta(minutes=minutes)
    gpu = device != "cpu" and torch.cuda.is_available()
    world._store, _, _ = next(distributed.rendezvous("env://", timeout=timeout))
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo",
        store=distributed.PrefixStore("spkver", world._store),
        rank=world.rank,
        world_size=world.size,
        timeout=timeout,
    )
    try:
        yield world
    except BaseException as error:
        ending = world._fail(error)
        if world._agreed:
            distributed.destroy_process_group()
        if ending is error:
            raise
        raise ending from error
    else:
        distributed.destroy_process_group()


def leave() -> None:
    """End this process at once with exit code 0, if it is one of several and all is done; alone, go on.

    Threads of gloo outlive the group where DistributedDataParallel holds on to it, and may abort an interpreter that is
    being taken down ("terminate called without an active exception"): torchrun would call a complete run a failed one.
    """
    if World.from_environment().size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another process does not answer; gloo has no class of its own for that."""
    words = ("gloo", "nccl", "connection", "timed out")
    return isinstance(error, distributed.DistError) or any(word in str(error).lower() for word in words)
