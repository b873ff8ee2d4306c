"""Non-finite steps change nothing, with plain and with fused optimizers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from spkver.training.step.outcome import Guard


def make(name, fused, device="cpu"):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4)).to(device)
    kind = {
        "sgd": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True, fused=fused),
        "adamw": lambda ps: torch.optim.AdamW(ps, lr=0.1, fused=fused),
    }[name]
    optimizer = kind(list(net.parameters()))
    return net, optimizer, Guard(optimizer, net)


def step(net, optimizer, guard, x):
    optimizer.zero_grad()
    guard.before()
    loss = net(x).square().mean()
    loss.backward()
    guard.update(loss.detach().isfinite())


def state(net, optimizer):
    tensors = {name: one.clone() for name, one in net.state_dict().items() if one.is_floating_point()}
    for number, one in optimizer.state_dict()["state"].items():
        tensors |= {
            f"{number}.{key}": torch.as_tensor(value).clone() for key, value in one.items() if value is not None
        }
    return tensors


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("first", [True, False])
def test_non_finite_step_changes_nothing(name, fused, first, device):
    parts, x = make(name, fused, device), torch.randn(5, 3, 7).to(device)
    if not first:
        step(*parts, x)
    before = state(*parts[:2])
    bad = x.clone()
    bad[2, 1] = torch.nan
    step(*parts, bad)
    after = state(*parts[:2])
    for key, value in before.items():
        assert torch.equal(after[key], value), key
    # the next step equals that of a run without the bad one
    clean = make(name, fused, device)
    if not first:
        step(*clean, x)
    step(*clean, 2 * x)
    step(*parts, 2 * x)
    for (key, value), other in zip(state(*parts[:2]).items(), state(*clean[:2]).values()):
        assert torch.equal(value, other), key


def test_fused_and_plain_optimizers_agree():
    fused, asked = make("sgd", True), make("sgd", False)
    random = torch.Generator().manual_seed(1)
    for _ in range(3):
        x = torch.randn(5, 3, 7, generator=random)
        step(*fused, x)
        step(*asked, copy.deepcopy(x))
    for one, other in zip(fused[0].parameters(), asked[0].parameters()):
        torch.testing.assert_close(one, other)
