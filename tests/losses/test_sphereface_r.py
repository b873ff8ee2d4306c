"""SphereFace-R against its formula in float64 and the authors' code: the value has the margin, the gradient has not."""

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

S, FACTOR = 12.0, 1.7


def reference(x, y, W, factor):
    """The mean loss, sample by sample; the difference that the margin makes is a constant."""
    losses = []
    for x_i, y_i in zip(x, y.tolist()):
        c = [(W_j @ x_i) / (W_j.norm() * x_i.norm()) for W_j in W]
        theta = float(c[y_i].detach().acos())
        psi = S * (c[y_i] + math.cos(min(factor * theta, math.pi)) - math.cos(theta))
        others = [S * c_j for j, c_j in enumerate(c) if j != y_i]
        losses.append(-torch.log(psi.exp() / (psi.exp() + sum(z.exp() for z in others))))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("reduction", ["dense", {"name": "chunked", "chunk": 3}], ids=["dense", "chunked"])
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_formula(make_loss, batch, compare, reduction, share):
    x, y = batch
    loss = make_loss("sphereface_r", m=share, margin={"factor": FACTOR}, head={"s": S, "reduction": reduction})
    theta = torch.cosine_similarity(x, loss.head.weight[y]).acos()
    assert (theta * FACTOR > math.pi).any() and (theta * FACTOR < math.pi).any()
    compare(loss, reference(x, y, loss.head.weight, 1 + share * (FACTOR - 1)), x, y)


def test_equals_the_authors_code(make_loss, batch):
    """As in OpenSphere's heads, magnitude v1."""
    x, y = batch
    loss = make_loss("sphereface_r", m=1.0, margin={"factor": FACTOR}, head={"s": S})
    c = functional.linear(functional.normalize(x), functional.normalize(loss.head.weight))
    with torch.no_grad():
        theta = torch.acos(c.clamp(-1 + 1e-5, 1 - 1e-5))
        theta.scatter_(1, y.view(-1, 1), FACTOR, reduce="multiply")
        d = theta.clamp(1e-5, 3.14159).cos() - c
    expected = functional.cross_entropy(S * (c + d), y)
    got = loss(x, y).loss
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=0)
    weights = [x, loss.head.weight]
    torch.testing.assert_close(
        torch.autograd.grad(got, weights), torch.autograd.grad(expected, weights), rtol=1e-6, atol=1e-9
    )


def psi(theta, factor, share):
    c = torch.cos(theta)
    margin = MARGINS.build(MARGINS.get("sphereface_r").Config(factor=factor))
    return margin(Target(S * c, c, torch.full_like(c, S), torch.ones_like(c)), share) / S


@given(st.floats(1.01, 5), st.floats(0, 1))
def test_psi_never_rises_with_the_angle_nor_with_m(factor, share):
    theta = torch.linspace(0, math.pi, 501, dtype=torch.float64)
    values = psi(theta, factor, share)
    assert (values.diff() < 1e-9).all() and (values >= -1 - 1e-9).all()
    assert (psi(theta, factor, 1.0) <= values + 1e-9).all()


def test_without_a_margin_it_is_nsl(make_loss, batch):
    x, y = batch
    assert torch.equal(make_loss("sphereface_r", m=0.0)(x, y).per_sample, make_loss("nsl")(x, y).per_sample)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_finite_at_the_ends(dtype):
    c = torch.tensor([1 + 1e-7, 1, 0, -1, -1 - 1e-7], dtype=dtype, requires_grad=True)
    margin = MARGINS.build(MARGINS.get("sphereface_r").Config())
    values = margin(Target(S * c, c, torch.full_like(c, S), torch.ones_like(c)), 1.0)
    assert values.isfinite().all() and (torch.autograd.grad(values.sum(), c)[0] == S).all()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"m": 1.5}, "margin 'sphereface_r' takes a share of factor - 1 from 0 to 1, got m = 1.5"),
        ({"margin": {"factor": 1}}, "margin.factor: Input should be greater than 1"),
    ],
)
def test_invalid_margin_is_rejected(keys, message):
    with pytest.raises(InputError, match=message):
        validate(LOSSES, {"name": "sphereface_r"} | keys)
