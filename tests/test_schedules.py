from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spkver.config import validate
from spkver.errors import InputError
from spkver.schedules import (
    SCHEDULES,
    ConstantConfig,
    ExponentialConfig,
    LinearConfig,
    PiecewiseConfig,
    Run,
    WarmupConfig,
    ramp,
)

SHAPES = ("linear", "exponential", "cosine", "step")


NAMED = {
    "warmup": {},
    "constant": {"value": 3},
    "linear": {"initial": 3, "final": 1},
    "exponential": {"initial": 1000, "final": 10},
    "piecewise": {"points": [(0, 2), (1, 5)]},
}


def at(config, *places, run=None):
    schedule = SCHEDULES.build(config, run)
    return [schedule.at(place) for place in places]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_name_gives_its_schedule(name):
    config = validate(SCHEDULES.get(name).Config, {"name": name, **NAMED.get(name, {})})
    assert at(config, 0, 1) == pytest.approx([config.values[0], config.values[-1]])


def test_constant_schedule():
    assert at(ConstantConfig(value=0.2), 0, 0.5, 1) == [0.2] * 3


def test_warmup_schedule():
    config = WarmupConfig(final=0.2, start=0.25, end=0.75)
    assert at(config, 0, 0.25, 0.5, 0.75, 1) == pytest.approx([0, 0, 0.1, 0.2, 0.2])
    assert at(WarmupConfig(start=0.0, end=0.0), 0, 1) == [1, 1]
    assert at(WarmupConfig(start=0.5, end=0.5), 0, 0.2, 0.5, 1) == [0, 0, 1, 1]


def test_linear_and_exponential_schedules():
    assert at(LinearConfig(initial=3, final=1), 0, 0.5, 1) == [3, 2, 1]
    config = ExponentialConfig(initial=1000, final=10, end=0.5)
    assert at(config, 0, 0.25, 0.5, 1) == pytest.approx([1000, 100, 10, 10])
    assert config.values == (1000, 10)


def test_schedules_in_steps_and_epochs():
    steps = PiecewiseConfig(points=((3, 0.0), (3, 1.0), (5, 2.0)), unit="step")
    assert at(steps, *(step / 7 for step in range(7)), run=Run(7, 2.0)) == pytest.approx([0, 0, 0, 1, 1.5, 2, 2])
    epochs = LinearConfig(initial=0, final=4, end=4, unit="epoch")
    assert at(epochs, *(step / 10 for step in range(0, 11, 2)), run=Run(10, 2.5)) == pytest.approx(
        [0, 0.8, 1.6, 2.4, 3.2, 4]
    )
    for unit in ("step", "epoch"):
        with pytest.raises(InputError, match=f"unit {unit} needs the length"):
            SCHEDULES.build(LinearConfig(initial=0, final=1, unit=unit))


def test_step_places_are_exact():
    """k of n steps are exactly k steps, regardless of rounding of k / n."""
    for steps in range(1, 120):
        for place in range(steps):
            config = PiecewiseConfig(points=((0, 0.0), (place, 1.0)), shape="step", unit="step")
            assert at(config, place / steps, run=Run(steps, 1.0)) == [1.0], (place, steps)


def test_moves_tells_whether_the_value_changes():
    assert not SCHEDULES.build(ConstantConfig()).moves
    assert not SCHEDULES.build(LinearConfig(initial=2, final=2)).moves
    assert SCHEDULES.build(WarmupConfig()).moves


def test_shapes_of_a_ramp():
    assert ramp(1, 0.01, 0.5, "exponential") == pytest.approx(0.1)
    assert ramp(0.01, 1, 0.5, "exponential") == pytest.approx(0.1)
    assert ramp(0, 1, 0.5, "exponential") == pytest.approx((1 - 1e-3**0.5) / (1 - 1e-3))
    assert ramp(2, 4, 0.5, "cosine") == pytest.approx(3)
    assert ramp(2, 4, 0.999, "step") == 2


@given(st.floats(0, 10), st.floats(0, 10), st.lists(st.floats(0, 1), min_size=2), st.sampled_from(SHAPES))
def test_ramp_is_monotonic_between_its_ends(initial, final, places, shape):
    assert ramp(initial, final, 0, shape) == initial and ramp(initial, final, 1, shape) == final
    values = [ramp(initial, final, t, shape) for t in sorted(places)]
    ordered = sorted(values, reverse=final < initial)
    assert values == pytest.approx(ordered, abs=1e-9)
    assert min(initial, final) - 1e-9 <= min(values) and max(values) <= max(initial, final) + 1e-9


def test_piecewise_schedule():
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
        lambda: WarmupConfig(start=-1),
        lambda: LinearConfig(initial=1.0, final=0.0, start=3, end=2, unit="step"),
        lambda: ExponentialConfig(final=5.0),
        lambda: PiecewiseConfig(points=((0.5, 1.0), (0.1, 1.0))),
        lambda: PiecewiseConfig(points=((0.0, 1.0), (1.1, 1.0))),
        lambda: PiecewiseConfig(points=((0.0, 1.0), (1.0, 1.0)), shape=("linear", "linear")),
        lambda: PiecewiseConfig(points=()),
    ],
)
def test_invalid_schedule_is_rejected(config):
    with pytest.raises(ValidationError):
        config()


def test_schedules_and_bounds_load_without_torch():
    code = "import sys, spkver.schedules, spkver.losses.bounds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
