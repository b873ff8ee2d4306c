"""When the network is compiled, and that a failing compiler only causes a warning."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spkver.config import validate
from spkver.training.config import TrainingConfig
from spkver.training.step import compiling

CPU = torch.device("cpu")


def forward_of(network, compile="auto", steps=10, device=CPU):
    told = []
    config = validate(TrainingConfig, {"compile": compile, "steps": steps})
    return compiling.forward_of(network, config, device, told.append), told


@pytest.fixture
def network():
    return nn.Linear(3, 2)


@pytest.fixture
def compiler(monkeypatch):
    """A stand-in for the compiler that doubles the output; returns the list of compiled functions."""
    given = []
    monkeypatch.setattr(torch, "compile", lambda forward: given.append(forward) or (lambda x: 2 * forward(x)))
    monkeypatch.setattr(compiling, "_missing", lambda device: None)
    return given


@pytest.mark.parametrize(
    ("compile", "steps", "compiled"),
    [("auto", 10, False), ("auto", compiling.PAYS_FROM, True), ("true", 10, True), ("false", 10**6, False)],
)
def test_when_the_network_is_compiled(network, compiler, compile, steps, compiled):
    forward, told = forward_of(network, compile, steps)
    x = torch.ones(4, 3)
    for _ in range(2):
        torch.testing.assert_close(forward(x), (2 if compiled else 1) * network(x))
    assert len(compiler) == compiled and not told


def test_failing_compiler_is_a_warning(network, compiler, monkeypatch):
    def broken(forward):
        def call(x):
            raise RuntimeError("no rule to make a kernel\nTraceback ...")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    forward, told = forward_of(network, "true")
    x = torch.ones(4, 3)
    for _ in range(2):
        torch.testing.assert_close(forward(x), network(x))
    assert told == [
        "warning: torch.compile failed (no rule to make a kernel); training continues without it",
    ]
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):  # errors of the network itself are raised
        forward_of(network, "true")[0](torch.ones(4, 4))


def test_missing_compiler_is_a_warning(network, monkeypatch):
    monkeypatch.setenv("CXX", "absent-c++")
    monkeypatch.setenv("PATH", "")
    assert forward_of(network, "auto", 10**6) == (network, [])
    forward, told = forward_of(network, "true")
    assert forward is network
    assert told == [
        "warning: train.compile needs a C++ compiler (absent-c++), which is missing; training continues without it"
    ]


def test_compiled_network_gives_the_same_result(device):
    """With the real compiler, if available: the same output, gradients and batch norms up to rounding."""
    if compiling._missing(torch.device(device)):
        pytest.skip("no compiler")
    x, seen = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).to(device), []
    for compiled in ("false", "true"):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.BatchNorm1d(2)).to(device)
        forward, told = forward_of(network, compiled, device=torch.device(device))
        y = forward(x)
        y.square().mean().backward()
        seen.append([y, *(parameter.grad for parameter in network.parameters()), *network.buffers()])
        assert not told
    torch.testing.assert_close(seen[0], seen[1])
