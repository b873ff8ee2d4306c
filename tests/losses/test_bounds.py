from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spkver.config import validate
from spkver.losses import LOSSES
from spkver.losses.bounds import check, largest_margin, smallest_scale
from spkver.schedules import Run


def simplex(classes: int) -> torch.Tensor:
    corners = torch.eye(classes, dtype=torch.float64) - 1 / classes
    return torch.nn.functional.normalize(corners)


@pytest.mark.parametrize(("classes", "m"), [(2, 0.0), (2, 1.0), (10, 0.0), (10, 0.35), (50, 0.2)])
def test_simplex_reaches_the_posterior_at_the_scale_bound(make_loss, classes, m):
    s = smallest_scale(classes, 0.9, m)
    loss = make_loss("lmcl", dim=classes, classes=classes, m=m, head={"s": s})
    loss.head.weight.data = simplex(classes)
    out = loss(simplex(classes), torch.arange(classes))
    assert math.exp(-float(out.per_sample.mean())) == pytest.approx(0.9)


def test_published_formulas():
    assert smallest_scale(5994, 0.9) == pytest.approx(5993 / 5994 * math.log(5993 * 0.9 / 0.1))
    assert largest_margin(8, 2) == pytest.approx(1 - math.cos(math.pi / 4))
    assert largest_margin(5, 4) == 5 / 4
    assert largest_margin(6, 4) == 1
    assert smallest_scale(2, 0.9, 2.0) == math.inf
    assert smallest_scale(2, 0.5) == 0


@given(st.integers(2, 60))
def test_margin_bound_is_the_distance_of_the_nearest_prototypes(classes):
    nearest = (simplex(classes) @ simplex(classes).T - 2 * torch.eye(classes)).max()
    assert largest_margin(classes, classes + 1) == pytest.approx(1 - float(nearest))
    angles = torch.arange(classes) * 2 * math.pi / classes
    circle = torch.stack([angles.cos(), angles.sin()], dim=1).double()
    nearest = (circle @ circle.T - 3 * torch.eye(classes)).max()
    assert largest_margin(classes, 2) == pytest.approx(1 - float(nearest), abs=1e-6)


def test_warnings_state_the_values():
    config = validate(LOSSES, {"name": "lmcl", "m": 1.2, "head": {"s": 5}})
    scale, margin = check(config, classes=1000, dim=128)
    assert "s = 5" in scale and "1000 speakers" in scale and "m = 1.2" in scale
    assert "m = 1.2 is above 1.000" in margin and "128 dimensions" in margin
    assert check(validate(LOSSES, "bd_lmcl"), 5994, 256) == []
    assert check(validate(LOSSES, "softmax"), 5994, 256) == []
    # m of AAM is an angle, to which the bounds of LMCL do not apply
    assert check(validate(LOSSES, {"name": "aam", "m": 1.2}), 5994, 256) == []
    (scale,) = check(validate(LOSSES, {"name": "aam", "head": {"s": 5}}), 5994, 256)
    assert "m =" not in scale


def warnings(**keys):
    return check(validate(LOSSES, keys), classes=1000, dim=128)


def test_final_scheduled_values_are_checked():
    falls = {"name": "linear", "initial": 1, "final": 0.1}
    assert warnings(name="lmcl", m=1.2, head={"s": 1e9}, schedules={"m": falls}) == []
    (scale,) = warnings(name="nsl", schedules={"s": falls})
    assert "s = 3 is below 9.0" in scale
    # remaining annealing reduces the margin
    assert warnings(name="lmcl", m=1.2, schedules={"annealing": {"name": "constant", "value": 5}}) == []
    by_step = {"s": {"name": "linear", "unit": "step", "initial": 1, "final": 0.1, "end": 20}}
    config = validate(LOSSES, {"name": "nsl", "schedules": by_step})
    assert check(config, 1000, 128, run=Run(10, 5.0)) == []
    assert len(check(config, 1000, 128, run=Run(20, 5.0))) == 1


def test_cosine_part_of_a_combined_margin_is_checked():
    scale, margin = warnings(name="combined", margin={"m2": 0.3, "m3": 1.1}, head={"s": 8})
    assert "1000 speakers and m3 = 1.1" in scale and "margin m3 = 1.1 is above 1.000" in margin
    assert warnings(name="combined", m=0.1, margin={"m2": 0.3, "m3": 1.1}) == []


@pytest.mark.parametrize("name", ["softmax", "l_softmax", "a_softmax"])
def test_no_bound_without_a_scale(name):
    assert warnings(name=name) == []
