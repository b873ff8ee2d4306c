"""Make a pack in forked processes that are killed; each time, finish the run and compare the result.

python kill_worker.py pack DATA OUT | features PACK OUT: prints how many kills there were.
"""

import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import scipy.signal  # noqa: F401 - before the forks, as everything that takes time to import
import torch  # noqa: F401

from spkver.augment import speed  # noqa: F401
from spkver.datadir import read_datadir
from spkver.features import FrontEnd, FrontEndConfig  # noqa: F401
from spkver.packs import make_features, pack_audio

# audit events of Python that change directories
OPERATIONS = ("open", "os.chmod", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir")


def start(work: Callable[[], None], die_at: int = 0) -> int:
    """A process that does the work and is killed just before its n-th operation on a directory."""
    if pid := os.fork():
        return pid
    done = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal done
        if event in OPERATIONS:
            done += 1
            if done == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def finish(pid: int) -> bool:
    """Wait for a process. Returns whether it was killed."""
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def main(what: str, source: str, out: Path) -> None:
    def work(out: Path) -> None:
        if what == "pack":
            pack_audio(read_datadir(source), out, rows_per_shard=2)
        else:
            make_features(source, out, FrontEndConfig(bins=10), speeds=(0.9,))

    os.fsync = lambda handle: None  # a kill does not lose written data, unlike a power failure
    began = time.monotonic()
    assert not finish(start(partial(work, out / "whole")))
    took = time.monotonic() - began
    whole = content(out / "whole")
    here = out / "killed"
    here.mkdir()
    again = partial(work, here / "p")

    def check() -> None:
        assert not finish(start(again))
        assert [path.name for path in here.iterdir()] == ["p"]
        assert content(here / "p") == whole
        shutil.rmtree(here / "p")

    kills = 0
    while finish(start(again, kills + 1)):  # killed once at every operation
        kills += 1
        check()
    check()
    operations = kills
    while finish(start(again, operations // 4 + kills - operations)):  # killed repeatedly, a little later each time
        kills += 1
    check()
    draw = random.Random(0)
    for _ in range(10):
        for _ in range(draw.randint(1, 3)):
            pid = start(again)
            time.sleep(draw.uniform(0, took))
            os.kill(pid, signal.SIGKILL)
            kills += finish(pid)
        check()
    print(kills)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
