"""Memory of the chunked reduction, from the allocations recorded by the profiler on the CPU."""

from __future__ import annotations

import json

import pytest
import torch

BATCH, DIM = 64, 8


@pytest.fixture
def beyond_gradients(tmp_path, make_loss):
    """The peak number of bytes in a forward and backward pass, without the gradients."""

    def measure(classes: int, name: str = "bd_lmcl", **head) -> int:
        loss = make_loss(name, DIM, classes, torch.float32, head=head)
        x, y = torch.randn(BATCH, DIM, requires_grad=True), torch.randint(classes, (BATCH,))
        cpu = torch.profiler.ProfilerActivity.CPU
        with torch.profiler.profile(activities=[cpu], profile_memory=True) as profiler:
            loss(x, y).loss.backward()
        profiler.export_chrome_trace(str(tmp_path / "trace.json"))
        events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        held = most = 0
        for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda event: event["ts"]):
            held += event["args"]["Bytes"]
            most = max(most, held)
        return most - x.grad.nbytes - loss.head.weight.grad.nbytes

    return measure


def test_memory_does_not_grow_with_the_number_of_speakers(beyond_gradients):
    chunked = {"reduction": {"name": "chunked", "chunk": 256}}
    few, many = beyond_gradients(5_000, **chunked), beyond_gradients(20_000, **chunked)
    assert few > 2 * 4 * BATCH * 256  # at least the two buffers were measured
    assert many < 1.05 * few
    # including no second copy of the gradient of the weights
    assert many < 4 * DIM * 20_000
    assert many < 0.1 * beyond_gradients(20_000)


@pytest.mark.parametrize("name", ["inter_top_k_aam", "sphereface2"])
def test_memory_of_losses_with_further_passes(beyond_gradients, name):
    chunked = {"reduction": {"name": "chunked", "chunk": 256}}
    few, many = (beyond_gradients(classes, name, **chunked) for classes in (5_000, 20_000))
    assert many < 1.25 * few  # one sum per chunk is kept
    assert many < 0.05 * beyond_gradients(20_000, name)
