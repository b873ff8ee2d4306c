"""Weightings: the focal loss against its formula, with every head, reduction, selector and loss that has one."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import LOSSES, PRESETS
from spkver.losses.weightings import Focal, FocalConfig

HEADS = [
    {},
    {"reduction": "chunked"},
    {"reduction": {"name": "chunked", "chunk": 2}, "centres": 2},
    {"sample": {"share": 0.6}},
    {"split": True},
]


def focal(gamma):
    return {"name": "focal", "gamma": gamma}


def gradients(loss, x, y):
    out = loss(x, y)
    return [out.loss, *torch.autograd.grad(out.loss, [x, *loss.parameters()])]


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("reduction", ["dense", "chunked"])
def test_formula(make_loss, batch, compare, gamma, reduction):
    """-(1 - p)^γ log p, p a softmax of the logits with the margin."""
    x, y = batch
    loss = make_loss("lmcl", m=0.3, head={"s": 12, "reduction": reduction}, weighting=focal(gamma))
    one = torch.eye(len(loss.head.weight), dtype=torch.float64)[y]
    cosines = functional.cosine_similarity(x[:, None], loss.head.weight[None], dim=2)
    p = (torch.softmax(12 * (cosines - 0.3 * one), dim=1) * one).sum(dim=1)
    compare(loss, (-((1 - p) ** gamma) * p.log()).mean(), x, y)


@pytest.mark.parametrize("name", PRESETS)
def test_gamma_0_changes_nothing(make_loss, batch, name):
    for found, expected in zip(
        gradients(make_loss(name, weighting=focal(0.0)), *batch), gradients(make_loss(name), *batch), strict=True
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("selector", "others"),
    [
        ("all", ("unmargined", "batch")),
        *itertools.product(
            ["boundary", "hardest"], [("unmargined", "batch"), ("ignored", "batch"), ("ignored", "selected")]
        ),
    ],
)
def test_with_heads_and_selectors(make_loss, batch, head, selector, others):
    keys = {"head": {"name": "normalised", **head}, "selector": selector, "m": 0.3}
    x, y = batch
    plain = make_loss("lmcl", **keys)(x, y)
    loss = make_loss("lmcl", **keys, others=others[0], normalise_by=others[1], weighting=focal(2.0))
    found = loss(x, y)
    if others[0] == "unmargined":
        torch.testing.assert_close(found.per_sample, plain.per_sample, rtol=0, atol=0)  # before weights
        expected = ((1 - (-plain.per_sample).exp()) ** 2 * plain.per_sample).mean()
        torch.testing.assert_close(found.loss.detach(), expected)
    assert found.selected_share == plain.selected_share
    assert all(gradient.isfinite().all() for gradient in gradients(loss, x, y))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_of_0_and_of_any_size(gamma, dtype):
    """Where p is 1, (1 - p)^γ with γ < 1 has no derivative; where p is 0, the loss counts in full."""
    losses = torch.tensor([0.0, 1e-40, 1e-20, 30.0, 1e4], dtype=dtype, requires_grad=True)
    weighted = Focal(FocalConfig(gamma=gamma))(losses)
    weighted.sum().backward()
    assert weighted[0] == 0 and torch.equal(weighted[-1], losses[-1])
    assert losses.grad.isfinite().all() and losses.grad[-1] == 1
    assert float(losses.grad[0]) == pytest.approx(float(gamma == 0), abs=1e-9)


@pytest.mark.parametrize("name", sorted({*LOSSES} - {*PRESETS}))
def test_losses_without_weightings(name):
    with pytest.raises(InputError, match="weighting"):
        validate(LOSSES, {"name": name, "weighting": "focal"})


def test_invalid_settings_are_rejected(make_loss):
    with pytest.raises(InputError, match="gamma"):
        make_loss("lmcl", weighting=focal(-1.0))
    with pytest.raises(InputError, match=r"unknown weighting 'focl'; did you mean 'focal'"):
        make_loss("lmcl", weighting="focl")


def test_equal_is_the_default(make_loss):
    assert make_loss("bd_lmcl").config.weighting.name == "equal"
