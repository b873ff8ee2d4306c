"""Several processes that train one model: their ranks, their communication, and how they end together.

`torchrun` starts the processes and sets their ranks in the environment. Without it there is a single process, and the
functions here do nothing. Communication is by gloo between CPUs and NCCL between GPUs.
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

FAILED = "spkver/failed"  # key for the rank of the first process that fails


@dataclass
class World:
    """The processes of a run, seen from one of them. By default there is only one."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _store: distributed.Store | None = field(default=None, repr=False)
    _agreed: bool = field(default=False, repr=False)

    @classmethod
    def from_environment(cls) -> World:
        """Read the variables set by torchrun. Raises InputError if some are missing."""
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return cls()
        try:
            names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
            rank, size, local_rank, local_size = (int(os.environ[name]) for name in names)
        except (KeyError, ValueError) as error:
            raise InputError(
                f"RANK and WORLD_SIZE are set in the environment, but not all variables of torchrun ({error}); "
                "start with torchrun, or unset them"
            ) from error
        return cls(rank, size, local_rank, local_size)

    @property
    def main(self) -> bool:
        """Whether this process writes files, holds locks and prints."""
        return self.rank == 0

    @property
    def node(self) -> int:
        """The index of this process's machine."""
        return self.rank // self.local_size

    @property
    def nodes(self) -> int:
        """The number of machines."""
        return self.size // self.local_size

    def device(self, name: str) -> torch.device:
        """The device of this process; each process on a machine has its own GPU. Raises InputError if unavailable."""
        if self.size == 1 or name == "cpu" or not torch.cuda.is_available():
            return pick_device(name)
        if name not in ("auto", "cuda"):
            raise InputError(f"device '{name}' cannot be used by {self.size} processes; set train.device to auto")
        device = pick_device(f"cuda:{self.local_rank}")
        torch.cuda.set_device(device)
        return device

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in-place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: T) -> T:
        """The value of the main process."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Code that all processes run at the same point: if one fails, all end, and the main one gives the reason."""
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
        """The error, with the name of the process unless it is the main one."""
        if self.main:
            return error
        kind = type(error) if isinstance(error, SpkverError) else RunError
        return kind(f"process {self.rank} of {self.size} on {platform.node()}: {error}")

    def _fail(self, error: BaseException) -> BaseException:
        """The exception with which this process ends after an error outside of `together`.

        The first process that fails gives the reason before its connections close; the others, which lose the
        connection to it, end silently.
        """
        if isinstance(error, StoppedError):  # all processes stop
            self._agreed = True
            return error if self.main else SystemExit(error.exit_code)
        if self._agreed or isinstance(error, SystemExit):
            return error
        try:
            assert self._store is not None
            first = self._store.compare_set(FAILED, "", str(self.rank)) == str(self.rank).encode()
        except RuntimeError:  # the process that has the store is gone
            first = True
        if not first:
            return SystemExit(getattr(error, "exit_code", 1))
        if isinstance(error, RuntimeError) and _is_lost(error):
            return RunError(
                f"process {self.rank} of {self.size} on {platform.node()} lost the connection to another, which was "
                f"killed or does not answer ({str(error).splitlines()[0][:200]}); continue with --resume"
            )
        return self._named(error) if isinstance(error, SpkverError | OSError) else error


ALONE = World()


@contextlib.contextmanager
def joined(device: str, minutes: float) -> Iterator[World]:
    """Join the processes of a run.

    minutes: how long a process waits for the others before it gives up
    An error in one process ends all. That process gives the reason, the others end silently.
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
    """Exit at once with code 0 at the end of a run of several processes; with one process do nothing.

    DistributedDataParallel keeps threads of gloo alive, which may abort the interpreter at its exit ("terminate called
    without an active exception"); torchrun would then report a complete run as failed.
    """
    if World.from_environment().size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _is_lost(error: RuntimeError) -> bool:
    """Whether an error means that another process does not answer. gloo has no exception class for that."""
    words = ("gloo", "nccl", "connection", "timed out")
    return isinstance(error, distributed.DistError) or any(word in str(error).lower() for word in words)
