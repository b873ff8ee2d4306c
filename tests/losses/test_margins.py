"""ψ of every margin: its shape on [0, π], its gradients, and equal special cases."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import LOSSES, MARGINS
from spkver.losses.reductions.base import Target

S = 30.0
CLAMPED = 1.5e-3  # rad at either end, in which ψ may be flat


def margin(name, **keys):
    return MARGINS.build(MARGINS.get(name).Config(**keys))


def target(theta):
    c = torch.cos(theta)
    return Target(S * c, c, torch.full_like(c, S), torch.ones_like(c))


@st.composite
def margins(draw):
    """A margin, its m, and the greatest slope of ψ / σ."""
    name = draw(st.sampled_from(["none", "lmcl", "aam", "multiplicative", "combined"]))
    if name == "multiplicative":
        m = draw(st.integers(1, 5))
        return margin(name), m, m
    if name == "combined":
        m1, share = draw(st.floats(0.5, 5)), draw(st.floats(0, 1))
        config = {"m1": m1, "m2": draw(st.floats(0, 3)), "m3": draw(st.floats(0, 2))}
        return margin(name, **config), share, max(1, m1)
    return margin(name), draw(st.floats(0, {"none": 0, "lmcl": 2, "aam": 3.1}[name])), 1


@given(margins())
def test_psi_is_continuous_and_falls(case):
    psi, m, slope = case
    theta = torch.linspace(CLAMPED, math.pi - CLAMPED, 5001, dtype=torch.float64)
    steps = psi(target(theta), m).diff() / S
    assert (steps < 1e-9).all()
    assert (steps.abs() < 1.01 * slope * float(theta[1] - theta[0])).all()


@given(st.sampled_from(["lmcl", "aam", "combined"]), st.floats(0, 1), st.floats(0, 1))
def test_psi_falls_with_m(name, low, high):
    low, high = sorted((low, high))
    psi = margin(name, **({"m1": 1.7, "m2": 0.4, "m3": 0.1} if name == "combined" else {}))
    theta = torch.linspace(CLAMPED, math.pi - CLAMPED, 301, dtype=torch.float64)
    assert (psi(target(theta), high) <= psi(target(theta), low) + 1e-9).all()


def test_psi_falls_with_an_integer_m():
    theta = torch.linspace(0, math.pi, 1001, dtype=torch.float64)
    values = torch.stack([margin("multiplicative")(target(theta), m) for m in range(1, 6)])
    assert (values.diff(dim=0) <= 1e-12).all()
    torch.testing.assert_close(values[0], target(theta).logit)


GRADCHECKED = {
    "none": ({}, 0.0),
    "lmcl": ({}, 0.3),
    "aam": ({}, 0.5),
    "multiplicative": ({}, 4),
    "combined": ({"m1": 1.7, "m2": 0.4, "m3": 0.1}, 0.8),
}


@pytest.mark.parametrize("name", GRADCHECKED)
def test_gradcheck(name):
    # away from discontinuities of the derivative
    theta = torch.tensor([0.05, 0.3, 0.9, 1.2, 1.9, 2.5, 3.0], dtype=torch.float64)
    c = torch.cos(theta).requires_grad_()
    scale = torch.linspace(0.5, 30, len(theta), dtype=torch.float64).requires_grad_()
    keys, m = GRADCHECKED[name]
    torch.autograd.gradcheck(lambda c, s: margin(name, **keys)(Target(s * c, c, s, s), m), (c, scale))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "keys", "m"),
    [
        *[(name, *rest) for name, rest in GRADCHECKED.items()],
        *[("aam", {}, 2.0), ("combined", {"m2": 0.5}, 1.0), ("combined", {"m1": 5, "m2": 3}, 1.0)],
        *[("multiplicative", {}, m) for m in range(1, 6)],
    ],
)
def test_values_and_gradients_are_finite_at_the_ends(name, keys, m, dtype):
    c = torch.tensor([1 + 1e-7, 1, 1 - 1e-7, 0, -1 + 1e-7, -1, -1 - 1e-7], dtype=dtype, requires_grad=True)
    psi = margin(name, **keys)(Target(S * c, c, torch.full_like(c, S), torch.ones_like(c)), m)
    (gradient,) = torch.autograd.grad(psi.sum(), c)
    assert psi.isfinite().all() and gradient.isfinite().all() and (gradient >= 0).all()


@pytest.mark.parametrize("name", ["none", "lmcl", "aam", "combined"])
def test_psi_without_margin_is_the_logit_even_for_cosines_above_one(name):
    c = torch.tensor([1 + 1e-7, 1.0, 0.3, -1.0, -1 - 1e-7], dtype=torch.float64)
    keys, _ = GRADCHECKED[name]
    z = S * c + 1e-9  # as rounding may change it
    assert torch.equal(margin(name, **keys)(Target(z, c, torch.full_like(c, S), torch.ones_like(c)), 0.0), z)


def test_aam_beyond_pi():
    m = 0.5
    theta = torch.tensor([1.0, math.pi - m - 1e-9, math.pi - m + 1e-9, 3.0], dtype=torch.float64)
    falling = margin("aam")(target(theta), m) / S
    cosines = torch.cos(theta + m)
    torch.testing.assert_close(falling, torch.cat([cosines[:2], -2 - cosines[2:]]))
    peers = margin("aam", beyond="peers")(target(theta), m) / S
    torch.testing.assert_close(peers, torch.cat([cosines[:2], torch.cos(theta[2:]) - m * math.sin(m)]))
    assert abs(float(falling[2] - falling[1])) < 1e-6 < 0.1 < abs(float(peers[2] - peers[1]))


@pytest.mark.parametrize("m", range(1, 6))
def test_psi_of_a_and_l_softmax(m):
    # at kπ/m, where two values of k agree, ψ is 1 - 2k
    joints = torch.arange(m + 1, dtype=torch.float64)
    torch.testing.assert_close(margin("multiplicative")(target(joints * math.pi / m), m), S * (1 - 2 * joints))
    theta = torch.linspace(0.001, math.pi - 0.001, 999, dtype=torch.float64)
    k = torch.floor(theta * m / math.pi)
    expected = S * ((-1) ** k * torch.cos(m * theta) - 2 * k)
    torch.testing.assert_close(margin("multiplicative")(target(theta), m), expected)


@given(st.floats(0, 2), st.floats(0, 3), st.integers(1, 5), st.floats(0, math.pi))
def test_combined_margin_includes_the_others(cosine, angle, times, theta):
    assume(CLAMPED < theta < math.pi - CLAMPED)
    at = target(torch.tensor([theta], dtype=torch.float64))
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(margin("combined", m3=cosine)(at, 1.0), margin("lmcl")(at, cosine), **close)
    torch.testing.assert_close(margin("combined", m2=angle)(at, 1.0), margin("aam")(at, angle), **close)
    torch.testing.assert_close(margin("combined", m1=times)(at, 1.0), margin("multiplicative")(at, times), **close)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"name": "nsl", "m": 0.2}, "margin 'none' takes no m, got m = 0.2"),
        ({"name": "lmcl", "m": 2.5}, "margin 'lmcl' takes a difference of cosines from 0 to 2, got m = 2.5"),
        ({"name": "aam", "m": 3.2}, "takes an angle of at least 0 and less than π, in radians, got m = 3.2"),
        ({"name": "a_softmax", "m": 2.5}, "takes a whole m from 1 to 5 (softened by schedules.annealing"),
        ({"name": "a_softmax", "m": 0}, "takes a whole m from 1 to 5"),
        ({"name": "l_softmax", "m": 6}, "takes a whole m from 1 to 5"),
        ({"name": "l_softmax", "m": -1}, "m: Input should be greater than or equal to 0"),
        ({"name": "a_softmax", "schedules": {"m": "warmup"}}, "takes a whole m from 1 to 5"),
        ({"name": "combined", "m": 1.2}, "takes a share of m1, m2 and m3 from 0 to 1, got m = 1.2"),
        ({"name": "combined", "margin": {"m1": 0}}, "margin.m1: Input should be greater than 0"),
        ({"name": "combined", "margin": {"m2": 3.2}}, "margin.m2: Input should be less than"),
        ({"name": "combined", "margin": {"m3": -1}}, "margin.m3: Input should be greater than or equal to 0"),
        ({"name": "lmcl", "m": 1, "schedules": {"m": {"final": 3}}}, "from 0 to 2, got m = 3"),
        ({"name": "bd_lmcl", "selector": {"select_margin": 3}}, "from 0 to 2, got m = 3"),
        ({"name": "l_softmax", "head": {"bias": "true"}}, "not defined with a bias; set head.bias to false"),
    ],
)
def test_invalid_margin_is_rejected(tree, message):
    with pytest.raises(InputError) as caught:
        validate(LOSSES, tree)
    assert message in str(caught.value) and "\n" not in str(caught.value)
