from __future__ import annotations

import math

import torch

from spkver.training.monitoring.monitor import Averages

CPU = torch.device("cpu")


def test_skipped_steps_are_not_averaged():
    """Skipped steps have no effect on the means, which start again after each call."""
    averages = Averages()
    assert averages.read() == {}
    for loss, finite in ((1.0, True), (math.nan, False), (4.0, True)):
        averages.add(torch.tensor(finite), {"loss": torch.tensor(loss), "accuracy": torch.tensor(0.5)})
    assert averages.read() == {"loss": 2.5, "accuracy": 0.5}
    assert averages.read() == {}
    averages.add(torch.tensor(False), {"loss": torch.tensor(math.inf)})
    assert averages.read() == {}


def test_resumed_run_logs_the_same_means():
    whole, again = Averages(), Averages()
    again.restore(whole.state(), CPU)  # an empty state
    whole.add(torch.tensor(True), {"loss": torch.tensor(1.0)})
    whole.add(torch.tensor(False), {"loss": torch.tensor(9.0)})
    again.restore({name: tensor.clone() for name, tensor in whole.state().items()}, CPU)
    for one in (whole, again):
        one.add(torch.tensor(True), {"loss": torch.tensor(2.0)})
        assert one.read() == {"loss": 1.5}
