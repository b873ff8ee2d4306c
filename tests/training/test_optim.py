"""Parameter groups and steps of every registered optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spkver.config import validate
from spkver.training.optim import OPTIMIZERS


@pytest.fixture
def net():
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4))


def build(name, net, factor=lambda name: 1.0, **keys):
    scaled = [(parameter, factor(name)) for name, parameter in net.named_parameters()]
    return OPTIMIZERS.build(validate(OPTIMIZERS.get(name).Config, keys), scaled)


def groups_of(optimizer, net):
    """The group of each parameter, by its name."""
    names = {parameter: name for name, parameter in net.named_parameters()}
    return {names[one]: group for group in optimizer.param_groups for one in group["params"]}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_vectors_have_no_weight_decay(net, name):
    """With zero gradients, biases and gains of norms do not change, while weights shrink."""
    before = {key: parameter.clone() for key, parameter in net.named_parameters()}
    optimizer = build(name, net, lr=0.1, weight_decay=0.5)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in net.named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, before[key]), key
        else:
            assert parameter.norm() < before[key].norm(), key
    decay = {key: group["weight_decay"] for key, group in groups_of(optimizer, net).items()}
    assert decay == {key: 0.5 if parameter.ndim > 1 else 0.0 for key, parameter in net.named_parameters()}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_learning_rate_factors_and_frozen_parameters(net, name):
    net[0].requires_grad_(False)
    groups = groups_of(build(name, net, lambda key: 3.0 if key.startswith("3.") else 1.0, lr=0.1), net)
    assert {key: group["factor"] for key, group in groups.items()} == {
        "1.weight": 1.0,
        "1.bias": 1.0,
        "3.weight": 3.0,
        "3.bias": 3.0,
        "4.weight": 1.0,
        "4.bias": 1.0,
    }


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_step_reduces_the_loss(net, name):
    x, y = torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
    optimizer, losses = build(name, net, lr=0.05), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
