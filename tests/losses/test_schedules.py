from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spkver.losses import SCHEDULES
from spkver.losses.schedules import ConstantConfig, PiecewiseConfig, WarmupConfig, ramp

SHAPES = ("linear", "exponential", "cosine", "step")


def at(config, *places):
    schedule = SCHEDULES.build(config)
    return [schedule.at(place) for place in places]


def test_constant():
    assert at(ConstantConfig(value=0.2), 0, 0.5, 1) == [0.2] * 3


def test_warmup():
    config = WarmupConfig(final=0.2, start=0.25, end=0.75)
    assert at(config, 0, 0.25, 0.5, 0.75, 1) == pytest.approx([0, 0, 0.1, 0.2, 0.2])
    assert at(WarmupConfig(start=0.0, end=0.0), 0, 1) == [1, 1]


def test_shapes():
    assert ramp(1, 0.01, 0.5, "exponential") == pytest.approx(0.1)
    assert ramp(0.01, 1, 0.5, "exponential") == pytest.approx(0.1)
    assert ramp(0, 1, 0.5, "exponential") == pytest.approx((1 - 1e-3**0.5) / (1 - 1e-3))
    assert ramp(2, 4, 0.5, "cosine") == pytest.approx(3)
    assert ramp(2, 4, 0.999, "step") == 2


@given(st.floats(0, 10), st.floats(0, 10), st.lists(st.floats(0, 1), min_size=2), st.sampled_from(SHAPES))
def test_a_ramp_goes_one_way_between_its_ends(initial, final, places, shape):
    assert ramp(initial, final, 0, shape) == initial and ramp(initial, final, 1, shape) == final
    values = [ramp(initial, final, t, shape) for t in sorted(places)]
    ordered = sorted(values, reverse=final < initial)
    assert values == pytest.approx(ordered, abs=1e-9)
    assert min(initial, final) - 1e-9 <= min(values) and max(values) <= max(initial, final) + 1e-9


def test_piecewise():
    config = PiecewiseConfig(
        points=((0.0, 0.0), (0.1, 1.0), (0.5, 1.0), (1.0, 1e-2)), shape=("linear", "step", "exponential")
    )
    assert at(config, 0, 0.05, 0.1, 0.3, 0.75, 1) == pytest.approx([0, 0.5, 1, 1, 0.1, 0.01])
    jump = PiecewiseConfig(points=((0.0, 1.0), (0.5, 1.0), (0.5, 0.1)))
    assert at(jump, 0.499, 0.5, 1) == [1, 0.1, 0.1]
    assert at(PiecewiseConfig(points=((0.5, 3.0),)), 0, 1) == [3, 3]


@pytest.mark.parametrize(
    "config",
    [
        lambda: WarmupConfig(start=0.5, end=0.1),
        lambda: WarmupConfig(end=2),
        lambda: PiecewiseConfig(points=((0.5, 1.0), (0.1, 1.0))),
        lambda: PiecewiseConfig(points=((0.0, 1.0), (1.1, 1.0))),
        lambda: PiecewiseConfig(points=((0.0, 1.0), (1.0, 1.0)), shape=("linear", "linear")),
        lambda: PiecewiseConfig(points=()),
    ],
)
def test_a_schedule_that_makes_no_sense(config):
    with pytest.raises(ValidationError):
        config()


def test_schedules_and_bounds_load_without_torch():
    code = "import sys, spkver.losses.schedules, spkver.losses.bounds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
