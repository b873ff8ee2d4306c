"""speechbrain's margins where they define the same thing: LMCL, and AAM in the peers' form."""

from __future__ import annotations

import pytest
import torch


def theirs(speechbrain_losses, margin, loss, x, y):
    c = torch.nn.functional.linear(torch.nn.functional.normalize(x), torch.nn.functional.normalize(loss.head.weight))
    return speechbrain_losses.LogSoftmaxWrapper(margin)(c[:, None], y[:, None])


def compare(loss, opinion, x, y):
    out = loss(x, y).loss
    torch.testing.assert_close(out, opinion, rtol=1e-5, atol=1e-5)
    for ours, other in zip(
        torch.autograd.grad(out, [x, loss.head.weight]), torch.autograd.grad(opinion, [x, loss.head.weight])
    ):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)


@pytest.fixture
def short(batch):
    x, y = batch
    return x.detach().float().requires_grad_(), y


def test_lmcl(speechbrain_losses, make_loss, short):
    x, y = short
    loss = make_loss("lmcl", m=0.25, dtype=torch.float32)
    margin = speechbrain_losses.AngularMargin(margin=0.25, scale=30)
    compare(loss, theirs(speechbrain_losses, margin, loss, x, y), x, y)


@pytest.mark.parametrize("m", [0.2, 1.2])
def test_aam(speechbrain_losses, make_loss, short, m):
    x, y = short
    loss = make_loss("aam", m=m, margin={"beyond": "peers"}, dtype=torch.float32)
    margin = speechbrain_losses.AdditiveAngularMargin(margin=m, scale=30)
    compare(loss, theirs(speechbrain_losses, margin, loss, x, y), x, y)
