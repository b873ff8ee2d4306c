"""ElasticFace against its formula in float64 and the authors' code, and its random draws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import LOSSES, MARGINS
from spkver.losses.reductions.base import Target

S, M = 12.0, 0.4
FORMS = pytest.mark.parametrize(("name", "form"), [("elastic_aam", "arc"), ("elastic_lmcl", "cos")])


def reference(x, y, W, form, margins):
    """The mean loss, sample by sample, with a margin for each."""
    losses = []
    for x_i, y_i, m in zip(x, y.tolist(), margins):
        c = [(W_j @ x_i) / (W_j.norm() * x_i.norm()) for W_j in W]
        if form == "cos":
            own = c[y_i] - m
        else:
            phi = torch.acos(c[y_i]) + m
            own = torch.cos(phi) if phi <= math.pi else -2 - torch.cos(phi)
        others = [S * c_j for j, c_j in enumerate(c) if j != y_i]
        losses.append(-torch.log((S * own).exp() / ((S * own).exp() + sum(z.exp() for z in others))))
    return sum(losses) / len(losses)


def drawn(loss, x, y):
    """The margins of the first step of a new loss."""
    loss(x, y)
    margins = M * loss.margin.shares.clone()
    loss.margin.drawn.step = 0
    return margins


@FORMS
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("reduction", ["dense", {"name": "chunked", "chunk": 3}], ids=["dense", "chunked"])
def test_formula(make_loss, batch, compare, name, form, plus, reduction):
    x, y = batch
    loss = make_loss(name, m=M, margin={"plus": plus, "deviation": 0.3}, head={"s": S, "reduction": reduction})
    margins = drawn(loss, x, y)
    assert margins.std() > 0.05
    compare(loss, reference(x, y, loss.head.weight, form, margins), x, y)


@FORMS
@pytest.mark.parametrize("plus", [False, True])
def test_equals_the_authors_code(make_loss, batch, name, form, plus):
    """As in ElasticFace/utils/losses.py. With plus, the batch is sorted, for which their order is also the rank."""
    x, y = batch
    loss = make_loss(name, m=M, margin={"plus": plus, "deviation": 0.02}, head={"s": S})
    c = functional.linear(functional.normalize(x), functional.normalize(loss.head.weight)).clamp(-1, 1)
    order = c.gather(1, y[:, None])[:, 0].argsort(descending=True)
    x, y, c = x[order], y[order], c[order]
    margin = drawn(loss, x, y)[torch.randperm(len(y)) if plus else slice(None), None]
    m_hot = torch.zeros(len(y), 7, dtype=torch.float64)
    if plus:
        _, indices = torch.sort(c[torch.arange(len(y)), y].detach().clone(), dim=0, descending=True)
        margin, _ = torch.sort(margin, dim=0)
        m_hot.scatter_(1, y[:, None], margin[indices])
    else:
        m_hot.scatter_(1, y[:, None], margin)
    z = torch.cos(torch.acos(c) + m_hot) if form == "arc" else c - m_hot
    assert (c.gather(1, y[:, None]).acos() + margin < math.pi).all() or form == "cos"
    torch.testing.assert_close(loss(x, y).loss, functional.cross_entropy(S * z, y))


def test_plus_gives_larger_margins_to_samples_farther_from_their_prototype(make_loss, batch):
    x, y = batch
    loss = make_loss("elastic_aam", m=M, margin={"plus": True})
    margins = drawn(loss, x, y)
    farthest_last = torch.cosine_similarity(x, loss.head.weight[y]).argsort(descending=True)
    assert (margins[farthest_last].diff() > 0).all()


def test_distribution():
    margin = MARGINS.build(MARGINS.get("elastic").Config(deviation=0.2))
    c = torch.zeros(100_000, dtype=torch.float64)
    margin.observe(Target(c, c, c, c))
    assert abs(float(margin.shares.mean()) - 1) < 0.003 and abs(float(margin.shares.std()) - 0.2) < 0.003


def test_draws_depend_on_seed_and_step_and_continue_from_the_state(make_loss, batch):
    x, y = batch
    one, other, third = (make_loss("elastic_aam", margin={"seed": seed}) for seed in (1, 1, 2))
    first = [one(x, y).loss.item() for _ in range(4)]
    assert len(set(first)) == 4
    assert [other(x, y).loss.item() for _ in range(2)] == first[:2]
    assert third(x, y).loss.item() not in first
    third = make_loss("elastic_aam", margin={"seed": 1})
    third.load_state_dict(other.state_dict())
    assert [third(x, y).loss.item() for _ in range(2)] == first[2:]


@FORMS
def test_no_deviation_in_evaluation_and_none_without_a_margin(make_loss, batch, name, form):
    x, y = batch
    plain = make_loss({"arc": "aam", "cos": "lmcl"}[form], m=M)
    loss = make_loss(name, m=M)
    loss(x, y)
    torch.testing.assert_close(loss.eval()(x, y).loss, plain(x, y).loss)
    assert loss.margin.drawn.step == 1
    free = make_loss(name, m=0.0, margin={"deviation": 0.5})
    assert torch.equal(free(x, y).per_sample, make_loss("nsl")(x, y).per_sample)


@given(st.sampled_from(["arc", "cos"]), st.floats(0.05, 3), st.floats(0, 0.5), st.integers(0, 100))
def test_psi_and_gradient_are_finite(form, m, deviation, seed):
    margin = MARGINS.build(MARGINS.get("elastic").Config(form=form, deviation=deviation, seed=seed))
    c = torch.tensor([1 + 1e-7, 1, 0.3, -1, -1 - 1e-7], dtype=torch.float64, requires_grad=True)
    target = Target(S * c, c, torch.full_like(c, S), torch.ones_like(c))
    margin.observe(target)
    psi = margin(target, m)
    assert psi.isfinite().all() and torch.autograd.grad(psi.sum(), c)[0].isfinite().all()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "elastic_aam", "m": 3.2}, "margin 'aam' takes an angle"),
        ({"name": "elastic_lmcl", "m": 2.5}, "a difference of cosines from 0 to 2, got m = 2.5"),
        ({"name": "elastic_lmcl", "margin": {"deviation": 0.6}}, "margin.deviation: Input should be less than"),
    ],
)
def test_invalid_margin_is_rejected(keys, message):
    with pytest.raises(InputError, match=message):
        validate(LOSSES, keys)
