from __future__ import annotations

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
