"""Comparison with pytorch-metric-learning and speechbrain, in value and gradient.

Where they differ from us by intent, the test says how: in AAM both let ψ jump at θ = π - m (as our `beyond: peers`
does too), and neither knows annealing, which is set to 0 here.
"""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning import losses

SIZE = {"num_classes": 7, "embedding_size": 6}
NO_ANNEALING = {"annealing": {"name": "constant", "value": 0}}


@pytest.fixture
def short(batch):
    x, y = batch
    return x.detach().float().requires_grad_(), y


def compare(ours, theirs, x, y, tolerance=1e-9):
    """pytorch-metric-learning's W is (dim, classes)."""
    theirs.W.data = ours.head.weight.detach().T.clone()
    got, opinion = ours(x, y).loss, theirs(x, y)
    torch.testing.assert_close(got, opinion, rtol=tolerance, atol=tolerance)
    to_x, to_W = torch.autograd.grad(got, [x, ours.head.weight])
    other_to_x, other_to_W = torch.autograd.grad(opinion, [x, theirs.W])
    torch.testing.assert_close(to_x, other_to_x, rtol=10 * tolerance, atol=tolerance)
    torch.testing.assert_close(to_W, other_to_W.T, rtol=10 * tolerance, atol=tolerance)


# ---- pytorch-metric-learning ----


@pytest.mark.parametrize("m", [0.0, 0.35])
def test_cosface(make_loss, batch, m):
    compare(make_loss("lmcl", m=m), losses.CosFaceLoss(**SIZE, margin=m, scale=30), *batch)


@pytest.mark.parametrize("m", [0.2, 1.2])
def test_arcface(make_loss, batch, m):
    """Their margin is in degrees."""
    ours = make_loss("aam", m=m, margin={"beyond": "peers"})
    theirs = losses.ArcFaceLoss(**SIZE, margin=math.degrees(m), scale=30)
    compare(ours, theirs, *batch)
    if m > 1:  # the batch has samples beyond π - m, where our default differs
        x, y = batch
        assert not torch.isclose(make_loss("aam", m=m)(x, y).loss, theirs(x, y))


def test_sub_center_arcface(make_loss, batch):
    theirs = losses.SubCenterArcFaceLoss(**SIZE, margin=math.degrees(0.2), scale=30, sub_centers=3)
    compare(make_loss("sub_centre_aam", m=0.2, margin={"beyond": "peers"}), theirs, *batch)


@pytest.mark.parametrize("m", range(1, 6))
def test_large_margin_softmax(make_loss, batch, m):
    """They compute cos(mθ) with the binomial formula of the paper, and k from acos."""
    x, y = batch
    ours = make_loss("l_softmax", m=m, schedules=NO_ANNEALING)
    compare(ours, losses.LargeMarginSoftmaxLoss(**SIZE, margin=m, scale=1), x, y)


@pytest.mark.parametrize("m", range(1, 6))
def test_sphereface(make_loss, batch, m):
    ours = make_loss("a_softmax", m=m, schedules=NO_ANNEALING)
    compare(ours, losses.SphereFaceLoss(**SIZE, margin=m, scale=1), *batch)


# ---- speechbrain, which computes in float32 ----


def speechbrains(speechbrain_losses, margin, loss, x, y):
    c = torch.nn.functional.linear(torch.nn.functional.normalize(x), torch.nn.functional.normalize(loss.head.weight))
    return speechbrain_losses.LogSoftmaxWrapper(margin)(c[:, None], y[:, None])


def compare_short(loss, opinion, x, y):
    out = loss(x, y).loss
    torch.testing.assert_close(out, opinion, rtol=1e-5, atol=1e-5)
    for ours, other in zip(
        torch.autograd.grad(out, [x, loss.head.weight]), torch.autograd.grad(opinion, [x, loss.head.weight])
    ):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)


def test_lmcl(speechbrain_losses, make_loss, short):
    x, y = short
    loss = make_loss("lmcl", m=0.25, dtype=torch.float32)
    margin = speechbrain_losses.AngularMargin(margin=0.25, scale=30)
    compare_short(loss, speechbrains(speechbrain_losses, margin, loss, x, y), x, y)


@pytest.mark.parametrize("m", [0.2, 1.2])
def test_aam(speechbrain_losses, make_loss, short, m):
    x, y = short
    loss = make_loss("aam", m=m, margin={"beyond": "peers"}, dtype=torch.float32)
    margin = speechbrain_losses.AdditiveAngularMargin(margin=m, scale=30)
    compare_short(loss, speechbrains(speechbrain_losses, margin, loss, x, y), x, y)
