from __future__ import annotations

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from spkver.training.monitoring import pace
from spkver.training.monitoring.pace import Clock


def test_rates_and_remaining_time(monkeypatch):
    now, batches = [0.0], SimpleNamespace(waited=0.0)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    clock = Clock(batches)
    clock.steps, now[0], batches.waited = 10, 20.0, 5.0
    assert clock.rates(8) == {"utterances_per_second": 4.0, "waiting": 0.25}
    assert clock.left(30) == 60
    with clock.paused():
        now[0] += 100  # a pause for validation
    clock.steps, now[0] = 10, now[0] + 10
    assert clock.rates(8) == {"utterances_per_second": 8.0, "waiting": 0.0}
    assert clock.left(20) == pytest.approx(20 * (1 + 100 / 20))  # rate of the last call, with the mean pause


FAULTS = """
import resource, torch
from spkver.training.monitoring.pace import fast_cpu

with fast_cpu(1):
    for step in range(30):
        if step == 20:  # after the first steps the heap is large enough
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 24)  # 16,384 pages
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other ways")
def test_memory_of_freed_tensors_is_used_again():
    faults = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    within, after = map(int, faults.split())
    assert within < 2000  # otherwise ten times all the pages
    assert after > 16000, "the memory was given back"
