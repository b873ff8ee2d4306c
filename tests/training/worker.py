"""Processes for the tests of runs: python worker.py JOBS.json.

A job is a number of processes and what they are to run, one after the other: {"processes": n, "runs": [arguments of
`spkver train`, ...]}. With "signal", "grows" (a file), "lines" and "after" (seconds), the processes "ranks" get the
signal so long after the file has grown by that many lines. With "fails" that process cannot read its data from the
third step on. All processes are forked from this one, which has imported torch once for all, and have the environment
that torchrun would give them. Prints a line of JSON a job: by rank the exit codes of the runs (or of the process, if it
did not come to its end), and what it said on standard error.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch._dynamo  # imported by DistributedDataParallel; here only once for all processes

import spkver.recipe  # noqa: F401  imported before the processes are forked
from spkver.cli import main
from spkver.training.data.batches import Batch, Sampler

READ = Sampler.batch
LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT

torch.set_num_threads(1)


def unreadable(self: Sampler, step: int) -> Batch:
    if step >= 2:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "the shard")
    return READ(self, step)


def child(job: dict, rank: int, ports: list[int], place: Path) -> None:
    for stream, path in ((1, os.devnull), (2, place / f"{rank}.err")):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    size, codes = job["processes"], []
    if job.get("fails") == rank:
        Sampler.batch = unreadable
    for arguments, port in zip(job["runs"], ports):
        if size > 1:
            values = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
            values |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
            os.environ |= {name: str(value) for name, value in values.items()}
        sys.argv = ["spkver", "train", *arguments]
        try:
            main()
        except SystemExit as end:
            codes.append(end.code)
    (place / f"{rank}.json").write_text(json.dumps(codes))


def free_ports(number: int) -> list[int]:
    """Ports below the range that the system assigns, which could be taken before the last run starts."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(12000, 32000), 100 * number):
        with contextlib.suppress(OSError), socket.create_server(("localhost", port)):
            found.append(port)
        if len(found) == number:
            break
    return found


def lines_of(path: str) -> int:
    return Path(path).read_bytes().count(b"\n") if Path(path).is_file() else 0


def work(job: dict, place: Path) -> dict:
    ports, pids = free_ports(len(job["runs"])), []
    before = lines_of(job.get("grows", ""))
    for rank in range(job["processes"]):
        pid = os.fork()
        if pid == 0:
            try:
                child(job, rank, ports, place)
            finally:
                os._exit(0)
        pids.append(pid)
    if "signal" in job:
        while lines_of(job["grows"]) < before + job["lines"] and os.waitid(os.P_PID, pids[0], LOOK) is None:
            time.sleep(0.005)
        time.sleep(job["after"])
        for rank in job["ranks"]:
            os.kill(pids[rank], getattr(signal, job["signal"]))
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    read = [place / f"{rank}.json" for rank in range(len(pids))]
    codes = [json.loads(path.read_text()) if path.exists() else [end] for path, end in zip(read, ends)]
    return {"codes": codes, "said": [(place / f"{rank}.err").read_text() for rank in range(len(pids))]}


if __name__ == "__main__":
    for one in json.loads(Path(sys.argv[1]).read_text()):
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(work(one, Path(folder))), flush=True)
