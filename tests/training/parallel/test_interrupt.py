from __future__ import annotations

import os

from torch import distributed

from spkver.training.parallel.distributed import World, leave
from spkver.training.parallel.interrupt import Interrupt


class Told:
    """A pending all-reduce with a process that was asked to stop."""

    def __init__(self, flag):
        self.flag, self.waited = flag, 0

    def wait(self):
        self.waited += 1
        self.flag.fill_(1.0)


def test_no_all_reduce_is_pending_at_the_end(monkeypatch):
    sent = []

    def all_reduce(flag, async_op):
        sent.append(Told(flag))
        return sent[-1]

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    interrupt = Interrupt(World(rank=0, size=2))
    assert not interrupt.settle()  # nothing was sent
    assert not interrupt.asked()  # the answer comes at the next call
    assert interrupt.asked() and [one.waited for one in sent] == [1]  # no further all-reduce
    assert not interrupt.settle()
    assert not interrupt.asked()
    assert interrupt.settle() and [one.waited for one in sent] == [1, 1]


def test_leave_exits_only_with_several_processes(monkeypatch):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    leave()
    assert left == []
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    leave()
    assert left == [0]
