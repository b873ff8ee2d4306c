"""AdaFace and MagFace against plain float64 versions of their formulas, the authors' code, and their special cases."""

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

S, M, H = 12.0, 0.4, 0.333
MAG = {"l_a": 1.0, "u_a": 6.0, "l_m": 0.2, "u_m": 0.7, "lambda_g": 3.0}
DENSE_AND_CHUNKED = pytest.mark.parametrize(
    "reduction", ["dense", {"name": "chunked", "chunk": 3}], ids=["dense", "chunked"]
)


# ---- the formulas, sample by sample, nothing shared with the package ----


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def nll(psi, others):
    return -torch.log(psi.exp() / (psi.exp() + sum(z.exp() for z in others)))


def mean_loss(x, y, W, psi, beside=lambda x_i: 0.0):
    """The mean loss of the batch with ψ / s = psi(sample, cosine)."""
    losses = []
    for number, (x_i, y_i) in enumerate(zip(x, y.tolist())):
        c = [cosine(W_j, x_i) for W_j in W]
        others = [S * c_j for j, c_j in enumerate(c) if j != y_i]
        losses.append(nll(S * psi(number, c[y_i]), others) + beside(x_i))
    return sum(losses) / len(losses)


def fallen(phi):
    """cos φ, continued so that it falls below 0 and above π."""
    if phi < 0:
        return torch.ones_like(phi)
    return torch.cos(phi) if phi <= math.pi else -2 - torch.cos(phi)


def adaface(x, y, W, mean, deviation, m=M, h=H):
    quality = [min(max(h * (float(x_i.norm()) - mean) / deviation, -1), 1) for x_i in x.detach()]
    return mean_loss(x, y, W, lambda i, c: fallen(torch.acos(c) - m * quality[i]) - m * quality[i] - m)


def magface(x, y, W, l_a, u_a, l_m, u_m, lambda_g):
    a = [x_i.norm().clamp(l_a, u_a) for x_i in x]

    def psi(i, c):
        return fallen(torch.acos(c) + l_m + (u_m - l_m) / (u_a - l_a) * (a[i] - l_a))

    penalty = sum(lambda_g * (a_i / u_a**2 + 1 / a_i) for a_i in a) / len(a)
    return mean_loss(x, y, W, psi) + penalty


@DENSE_AND_CHUNKED
@pytest.mark.parametrize("h", [H, 2.0])
def test_adaface(make_loss, batch, compare, reduction, h):
    x, y = batch
    loss = make_loss("adaface", m=M, margin={"h": h, "momentum": 0}, head={"s": S, "reduction": reduction})
    norms = x.detach().norm(dim=1)
    compare(loss, adaface(x, y, loss.head.weight, float(norms.mean()), float(norms.std()), h=h), x, y)


@DENSE_AND_CHUNKED
def test_magface(make_loss, batch, compare, reduction):
    x, y = batch
    norms = x.detach().norm(dim=1)
    assert (norms < MAG["l_a"]).any() and (norms > MAG["u_a"]).any()
    loss = make_loss("magface", margin=MAG, head={"s": S, "reduction": reduction})
    compare(loss, magface(x, y, loss.head.weight, **MAG), x, y)


@pytest.mark.parametrize("name", ["adaface", "magface"])
def test_gradient_of_the_norm_with_a_split_head(name):
    """Target.norm of a split head comes through an exchange; with one process, the code path is the same."""
    from spkver.losses.margin_loss import MarginLoss

    margin = {"magface": MAG, "adaface": {}}[name]
    y = torch.tensor([0, 1, 2])
    gradients = []
    for split in (False, True):
        torch.manual_seed(3)
        tree = {"name": name, "margin": margin, "head": {"s": S, "split": split}}
        loss = MarginLoss(validate(LOSSES, tree), 4, 5).double()
        x = torch.linspace(-2, 3, 12, dtype=torch.float64).view(3, 4).requires_grad_()
        loss(x, y).loss.backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


# ---- the authors' code ----


def test_adaface_equals_the_authors_code(make_loss, batch):
    """As in AdaFace/head.py; no norm reaches its limits of 0.001 and 100."""
    x, y = batch
    loss = make_loss("adaface", m=M, margin={"momentum": 0}, head={"s": S})
    norms = x.detach().norm(dim=1, keepdim=True)
    c = functional.linear(functional.normalize(x), functional.normalize(loss.head.weight)).clamp(-1 + 1e-3, 1 - 1e-3)
    scaler = ((norms - norms.mean()) / (norms.std() + 1e-3) * H).clip(-1, 1)
    one = functional.one_hot(y, 7)
    theta = (c.acos() - one * M * scaler).clip(1e-3, math.pi - 1e-3)
    z = S * (theta.cos() - one * (M + M * scaler))
    expected = functional.cross_entropy(z, y)
    # their 1e-3, added to the deviation
    torch.testing.assert_close(loss(x, y).loss, expected, rtol=1e-3, atol=0)


def test_magface_equals_the_authors_code(make_loss, batch):
    """As in MagFace/models/magface.py, with easy_margin off; it has a jump at π - m, where there is no sample."""
    x, y = batch
    loss = make_loss("magface", margin=MAG, head={"s": S})
    norms = x.norm(dim=1, keepdim=True).clamp(MAG["l_a"], MAG["u_a"])
    margin = (MAG["u_m"] - MAG["l_m"]) / (MAG["u_a"] - MAG["l_a"]) * (norms - MAG["l_a"]) + MAG["l_m"]
    c = functional.linear(functional.normalize(x), functional.normalize(loss.head.weight))
    turned = c * margin.cos() - (1 - c**2).sqrt() * margin.sin()
    assert (c.gather(1, y[:, None]) > (math.pi - margin).cos()).all()
    z = S * torch.where(functional.one_hot(y, 7).bool(), turned, c)
    penalty = MAG["lambda_g"] * (norms / MAG["u_a"] ** 2 + 1 / norms).mean()
    torch.testing.assert_close(loss(x, y).loss, functional.cross_entropy(z, y) + penalty)


# ---- special cases ----


def margin(name, **keys):
    return MARGINS.build(MARGINS.get(name).Config(**keys)).double()


def target(theta, norm):
    c = torch.cos(theta)
    return Target(S * c, c, torch.full_like(c, S), torch.full_like(c, norm))


ANGLES = torch.linspace(0.01, math.pi - 0.01, 301, dtype=torch.float64)


@given(st.floats(0.01, 3))
def test_adaface_is_aam_for_short_embeddings_and_lmcl_for_average_ones(m):
    made = margin("adaface")
    made.mean.fill_(20.0), made.deviation.fill_(2.0)
    torch.testing.assert_close(made(target(ANGLES, 1.0), m), margin("aam")(target(ANGLES, 1.0), m))
    torch.testing.assert_close(made(target(ANGLES, 20.0), m), margin("lmcl")(target(ANGLES, 20.0), m))
    long = torch.where(m > ANGLES, 1.0, torch.cos(ANGLES - m)) - 2 * m
    torch.testing.assert_close(made(target(ANGLES, 100.0), m), S * long)


@given(st.floats(0, 3), st.floats(0, 100))
def test_magface_of_one_angle_is_aam(angle, norm):
    made = margin("magface", l_m=angle, u_m=angle)
    torch.testing.assert_close(made(target(ANGLES, norm), 1.0), margin("aam")(target(ANGLES, norm), angle))


@given(st.sampled_from(["adaface", "magface"]), st.floats(0.01, 40), st.floats(0, 1))
def test_psi_falls_with_the_angle_at_every_norm(name, norm, share):
    made = margin(name)
    if name == "adaface":
        made.mean.fill_(20.0), made.deviation.fill_(2.0)
    assert (made(target(ANGLES, norm), share).diff() < 1e-9).all()


def test_magface_penalty_is_lowest_at_the_largest_norm():
    """g falls up to u_a, so the penalty increases norms; outside of l_a and u_a there is no gradient."""
    norm = torch.tensor([0.5, 2.0, 5.9, 7.0], dtype=torch.float64, requires_grad=True)
    own = Target(*(torch.zeros(4),) * 3, norm)
    (gradient,) = torch.autograd.grad(margin("magface", **MAG).penalty(own).sum(), norm)
    assert gradient[0] == gradient[3] == 0 and gradient[1] < gradient[2] < 0


def test_penalty_is_in_every_loss_and_independent_of_m(make_loss, batch):
    x, y = batch
    with_, without = (make_loss("magface", margin=MAG | {"lambda_g": g}, m=0.0) for g in (3.0, 0.0))
    norm = x.norm(dim=1).clamp(MAG["l_a"], MAG["u_a"])
    penalty = 3.0 * (norm / MAG["u_a"] ** 2 + 1 / norm)
    torch.testing.assert_close(with_(x, y).per_sample - without(x, y).per_sample, penalty.detach())
    torch.testing.assert_close(with_(x, y).loss - without(x, y).loss, penalty.mean())


# ---- the running statistics ----


def test_adaface_running_statistics(make_loss, batch):
    x, y = batch
    loss = make_loss("adaface", margin={"momentum": 0.9})
    first, second = x.detach().norm(dim=1), 3 * x.detach().norm(dim=1)
    loss(x, y), loss(3 * x, y)
    torch.testing.assert_close(loss.margin.mean, 0.9 * first.mean() + 0.1 * second.mean())
    torch.testing.assert_close(loss.margin.deviation, 0.9 * first.std() + 0.1 * second.std())
    before = {name: tensor.clone() for name, tensor in loss.state_dict().items()}
    assert {"margin.mean", "margin.deviation"} < set(before)
    loss.eval()(5 * x, y)
    loss.train()(5 * x[:1], y[:1])  # one sample has no deviation
    assert all(torch.equal(loss.state_dict()[name], tensor) for name, tensor in before.items())


def test_adaface_before_the_first_batch():
    assert (margin("adaface").quality(torch.tensor([0.0, 1.0, 1e4])) == 0).all()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "adaface", "m": 3.2}, "m of at least 0 and less than π"),
        ({"name": "magface", "m": 1.5}, "a share of its angles from 0 to 1, got m = 1.5"),
        ({"name": "magface", "margin": {"l_a": 20, "u_a": 10}}, "l_a must be below u_a .* norms from 20 to 10"),
        ({"name": "magface", "margin": {"l_m": 0.9}}, "l_m not above u_m.* angles from 0.9 to 0.8"),
    ],
)
def test_invalid_margin_is_rejected(keys, message):
    with pytest.raises(InputError, match=message):
        validate(LOSSES, keys)
