from __future__ import annotations

import math

import pytest
import torch

from spkver.losses.heads import Target
from spkver.losses.margins import AdditiveAngle, AdditiveAngleConfig, AdditiveCosine, AdditiveCosineConfig

S = 30.0


def target(theta):
    c = torch.cos(theta)
    return Target(S * c, c, torch.full_like(c, S))


def margins():
    return {"lmcl": AdditiveCosine(AdditiveCosineConfig()), "aam": AdditiveAngle(AdditiveAngleConfig())}


@pytest.mark.parametrize("name", margins())
@pytest.mark.parametrize("m", [0.0, 0.1, 0.5, 1.0, 2.0])
def test_psi_is_continuous_and_falls(name, m):
    theta = torch.linspace(2e-3, math.pi - 2e-3, 20001, dtype=torch.float64)
    steps = margins()[name](target(theta), m).diff()
    assert (steps < 0).all()
    assert (steps.abs() < S * 1.01 * float(theta[1] - theta[0])).all()


@pytest.mark.parametrize("name", margins())
def test_gradcheck(name):
    c = torch.linspace(-0.99, 0.99, 41, dtype=torch.float64, requires_grad=True)
    scale = torch.full_like(c, S).detach().requires_grad_()
    margin = margins()[name]
    torch.autograd.gradcheck(lambda c, s: margin(Target(s * c, c, s), 0.3), (c, scale))


@pytest.mark.parametrize("name", margins())
def test_without_margin_psi_is_the_logit_even_of_a_cosine_rounded_beyond_one(name):
    c = torch.tensor([1 + 1e-7, 1.0, 0.3, -1.0, -1 - 1e-7], dtype=torch.float64)
    assert torch.equal(margins()[name](Target(S * c, c, torch.full_like(c, S)), 0.0), S * c)


def test_aam_beyond():
    m = 0.5
    theta = torch.tensor([1.0, math.pi - m - 1e-9, math.pi - m + 1e-9, 3.0], dtype=torch.float64)
    falling = AdditiveAngle(AdditiveAngleConfig())(target(theta), m) / S
    cosines = torch.cos(theta + m)
    torch.testing.assert_close(falling, torch.cat([cosines[:2], -2 - cosines[2:]]))
    peers = AdditiveAngle(AdditiveAngleConfig(beyond="peers"))(target(theta), m) / S
    torch.testing.assert_close(peers, torch.cat([cosines[:2], torch.cos(theta[2:]) - m * math.sin(m)]))
    assert abs(float(falling[2] - falling[1])) < 1e-6 < 0.1 < abs(float(peers[2] - peers[1]))
