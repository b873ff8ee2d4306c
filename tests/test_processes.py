"""Processes that end with their parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from spkver import processes


def wait_and_clean(place: Path) -> None:
    try:
        (place / "begun").touch()
        time.sleep(60)
    finally:
        (place / "cleaned").touch()


@pytest.fixture
def child(tmp_path):
    process = processes.start(wait_and_clean, tmp_path)
    while not (tmp_path / "begun").exists():
        assert process.is_alive()
        time.sleep(0.01)
    yield process
    process.kill()
    process.join()


def test_child_cleans_up_on_sigterm(child, tmp_path):
    child.terminate()
    child.join(30)
    assert child.exitcode == 128 + signal.SIGTERM and (tmp_path / "cleaned").exists()


def test_child_leaves_ctrl_c_to_its_parent(child, tmp_path):
    os.kill(child.pid, signal.SIGINT)
    child.join(0.5)
    assert child.is_alive() and not (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("kind", ["prefetched", "ahead"])
def test_generator_that_is_closed_does_not_wait_for_its_threads(kind):
    """The garbage collector may close it inside a thread that starts or ends, where joining another is a deadlock."""
    begun, free = threading.Event(), threading.Event()

    def slow(item):
        if item > 1:
            begun.set()
            free.wait(60)
        return item

    if kind == "prefetched":
        found = processes.prefetched(map(slow, range(1, 20)))
    else:
        found = processes.ahead(slow, range(1, 20), 1)
    next(found)
    begun.wait(10)
    closing = threading.Thread(target=found.close)
    closing.start()
    closing.join(10)
    still = closing.is_alive()
    free.set()
    assert not still
