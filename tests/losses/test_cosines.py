"""The logged mean cosines to the own class and to the hardest other, compared with all cosines in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional


def hardest(c, y):
    return c.masked_fill(functional.one_hot(y, c.shape[1]).bool(), -torch.inf).amax(dim=1)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("nsl", {}),
        ("aam", {"head": {"reduction": "chunked"}}),
        ("bd_lmcl", {"head": {"s": 7}, "schedules": {"s": {"name": "linear", "initial": 1, "final": 3}}}),
        ("a_softmax", {}),
        ("inter_top_k_lmcl", {"k": 2}),
        ("sphereface2", {}),
    ],
)
def test_cosines_to_prototypes(make_loss, batch, name, keys):
    x, y = batch
    loss = make_loss(name, **keys)
    c = functional.normalize(x.detach()) @ functional.normalize(loss.head.weight.detach()).T
    out = loss(x, y, 0.7)
    assert float(out.target_cosine) == pytest.approx(float(c.gather(1, y[:, None]).mean()), abs=1e-9)
    assert float(out.hardest_cosine) == pytest.approx(float(hardest(c, y).mean()), abs=1e-9)
    assert not out.target_cosine.requires_grad and not out.hardest_cosine.requires_grad
    assert list(out.logged())[-2:] == ["target_cosine", "hardest_cosine"]


def test_cosines_of_a_zero_embedding(make_loss):
    out = make_loss("a_softmax")(torch.zeros(2, 6).double(), torch.tensor([0, 1]))
    assert out.target_cosine == 0 and out.hardest_cosine == 0


@pytest.mark.parametrize("name", ["softmax", "l_softmax"])
def test_no_cosines_without_cosine_logits(make_loss, batch, name):
    out = make_loss(name)(*batch)
    assert out.hardest_cosine is None and "hardest_cosine" not in out.logged()


def test_cosines_of_triplets(make_loss):
    x = functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double())
    y = torch.tensor([0, 0, 0, 1, 1, 2])  # the last sample has no pair
    c, same = x @ x.T, y[:, None] == y
    out = make_loss("triplet")(x, y)
    assert float(out.target_cosine) == pytest.approx(float(c.masked_fill(~same, 2).amin(1)[:5].mean()))
    assert float(out.hardest_cosine) == pytest.approx(float(c.masked_fill(same, -2).amax(1)[:5].mean()))


@pytest.mark.parametrize("form", ["softmax", "contrast"])
def test_cosines_of_ge2e(make_loss, form):
    x = functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double())
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    centres = functional.normalize(torch.stack([x[:3].sum(0), x[3:].sum(0)]))
    own = torch.stack([x[i] @ functional.normalize(x[y == y[i]].sum(0) - x[i], dim=0) for i in range(6)])
    out = make_loss("ge2e", form=form, w=3.0)(x, y)
    assert float(out.target_cosine) == pytest.approx(float(own.mean()))
    assert float(out.hardest_cosine) == pytest.approx(
        float(torch.stack([x[i] @ centres[1 - y[i]] for i in range(6)]).mean())
    )
