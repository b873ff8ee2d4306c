from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recipes.margin_geometry.boundaries import angle_plane, cosine_plane, curve, margin_angle, width
from recipes.margin_geometry.margins import CURVES, margins
from spkver.config import validate
from spkver.losses import LOSSES, MARGINS
from spkver.losses.reductions.base import Target

COSINES = np.cos(np.linspace(0.01, math.pi - 0.01, 99))
BETWEEN = np.radians([10, 45, 90, 135, 179])


def test_curves_are_the_formulas():
    theta = np.arccos(COSINES)
    assert np.allclose(curve({"name": "nsl"})(COSINES), COSINES)
    assert np.allclose(curve({"name": "lmcl", "m": 0.3})(COSINES), COSINES - 0.3)
    expected = np.where(theta <= math.pi - 0.4, np.cos(theta + 0.4), -2 - np.cos(theta + 0.4))
    assert np.allclose(curve({"name": "aam", "m": 0.4})(COSINES), expected)


@pytest.mark.parametrize("name", ["a_softmax", "l_softmax"])
def test_curves_of_the_multiplicative_margins_leave_annealing_out(name):
    theta = np.arccos(COSINES)
    k = np.floor(3 * theta / math.pi)
    assert np.allclose(curve({"name": name, "m": 3})(COSINES), (-1) ** k * np.cos(3 * theta) - 2 * k)


def of_the_angle_alone(name):
    """Whether embeddings of any norm have the same ψ."""
    margin = MARGINS.build(MARGINS.get(name).Config())
    cosine = torch.full((3,), 0.5)
    target = Target(10 * cosine, cosine, torch.full((3,), 10.0), torch.tensor([1.0, 20.0, 100.0]))
    margin.observe(target)
    psi = margin(target, 2.0 if name == "multiplicative" else 0.2)
    return bool((psi == psi[0]).all())


def test_every_margin_of_the_angle_is_drawn_and_falls():
    losses = [loss for panel in CURVES.values() for loss in panel.values()]
    drawn = {validate(LOSSES, loss).margin.name for loss in losses}
    assert drawn | {"none"} == {name for name in MARGINS if of_the_angle_alone(name)}
    for loss in losses:
        assert (np.diff(curve(loss)(COSINES)) <= 1e-12).all()


@pytest.mark.parametrize("m", [0.1, 0.35, 0.9])
def test_lmcl_is_the_square_root_of_two_times_m_wide(m):
    found = width(cosine_plane(curve({"name": "lmcl", "m": m})).lines())
    assert found == pytest.approx((math.sqrt(2) * m, math.sqrt(2) * m), abs=1e-12)


@pytest.mark.parametrize("m", [0.2, 0.5])
def test_aam_is_as_wide_in_angles(m):
    found = width(angle_plane(curve({"name": "aam", "m": m})).lines())
    assert found == pytest.approx((math.sqrt(2) * m, math.sqrt(2) * m), abs=5e-3)


def test_nsl_has_no_margin_and_a_softmax_one_that_starts_at_nothing():
    for plane in (cosine_plane, angle_plane):
        assert width(plane(curve({"name": "nsl"})).lines()) == pytest.approx((0, 0), abs=1e-12)
        found = width(plane(curve({"name": "a_softmax", "m": 2})).lines())
        assert found.least < 0.02 < 1 < found.most


def test_class_one_lies_where_its_own_cosine_is_large():
    plane = cosine_plane(curve({"name": "lmcl", "m": 0.2}), points=3)
    assert plane.excess[0, 2] > 0 > plane.excess[2, 0]
    assert cosine_plane(curve({"name": "nsl"}), length=2, points=3).excess[2, 2] == 1


def test_the_angle_left_free_is_what_the_formulas_say():
    assert np.allclose(margin_angle(curve({"name": "nsl"}), BETWEEN), 0)
    assert np.allclose(margin_angle(curve({"name": "a_softmax", "m": 3}), BETWEEN), BETWEEN / 2, atol=1e-6)
    aam = margin_angle(curve({"name": "aam", "m": 0.5}), BETWEEN)
    assert np.isnan(aam[0]) and np.allclose(aam[1:], 0.5, atol=1e-6)
    lmcl = margin_angle(curve({"name": "lmcl", "m": 0.2}), BETWEEN)
    # W_1 itself violates the margin if 1 - m < cos(between)
    assert np.isnan(lmcl[0]) and np.allclose(lmcl[1:], 2 * np.arcsin(0.1 / np.sin(BETWEEN[1:] / 2)), atol=1e-6)


def test_the_experiment_gives_what_it_draws():
    found = margins()
    assert [row[0] for row in found.tables[0].rows] == [
        "loss",
        "NSL",
        "A-softmax m = 2",
        "LMCL m = 0.35",
        "AAM m = 0.5",
    ]
    lmcl = found.tables[0].rows[3]
    assert lmcl[1] == lmcl[2] == lmcl[5] == "0.4950"
    assert found.numbers["margin_angle"]["LMCL m = 0.35"][0] is None
    assert [picture.name for picture in found.pictures] == ["psi", "boundaries", "margin_angle"]
