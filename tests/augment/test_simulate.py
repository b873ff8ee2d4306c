"""Simulation of an utterance depends only on the seed and its id."""

from __future__ import annotations

import numpy as np
import pytest

from spkver.augment.simulate import Simulation, SimulationConfig
from spkver.config import load, validate
from spkver.errors import InputError

RATE = 8000
ALL = {
    "waveform": [{"name": "reverb", "probability": 1}, {"name": "noise", "probability": 1}],
    "codec": {"probability": 1, "codecs": ["mu_law", "gsm", "band"]},
}


def no_packs(path):
    raise AssertionError(path)


def simulate(samples, id="a", **tree):
    return Simulation(validate(SimulationConfig, tree), RATE, no_packs)(samples, id)


def voice(samples=RATE, seed=0):
    return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def test_simulation_depends_only_on_seed_and_id():
    whole = Simulation(validate(SimulationConfig, ALL), RATE, no_packs)
    first = whole(voice(), "a")
    whole(voice(5000), "b")
    np.testing.assert_array_equal(first, whole(voice(), "a"))
    np.testing.assert_array_equal(first, simulate(voice(), **ALL))
    assert not np.array_equal(first, whole(voice(), "b"))
    assert not np.array_equal(first, simulate(voice(), seed=2, **ALL))
    assert first.shape == (RATE,) and first.dtype == np.float32 and np.abs(first).max() <= 1


def test_simulation_without_augmentations_changes_nothing():
    np.testing.assert_array_equal(simulate(voice()), voice())
    np.testing.assert_array_equal(simulate(voice(), codec={"probability": 0}), voice())


def test_codecs_follow_their_shares():
    parts = validate(SimulationConfig, {"codec": {"probability": 0.6, "codecs": ["mu_law", "a_law"]}})
    simulation = Simulation(parts, RATE, no_packs)
    changed = [simulation(voice(400), str(number)) for number in range(300)]
    kinds = {one.tobytes(): 0 for one in changed}
    for one in changed:
        kinds[one.tobytes()] += 1
    plain = kinds.pop(voice(400).tobytes())
    assert 0.5 < 1 - plain / 300 < 0.7 and len(kinds) == 2 and min(kinds.values()) > 60


def test_simulation_does_not_clip_loud_noise():
    loud = {"name": "noise", "probability": 1, "noise_snr_db": (-20, -20)}
    after = simulate(voice(), waveform=[loud])
    assert np.abs(after).max() == pytest.approx(1.0, abs=1e-6) and (np.abs(after) >= 1).sum() == 1


def test_simulation_of_silence_is_finite():
    assert np.isfinite(simulate(np.zeros(3000, np.float32), **ALL)).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("codecs: {}", "sim.yaml:1: unknown key 'codecs'; did you mean 'codec'"),
        ("codec: {codecs: [gms]}", "unknown codec 'gms'; did you mean 'gsm'"),
        ("codec: {codecs: []}", "codec.codecs"),
        ("seed: 1\nwaveform: [{name: reverb, probabilty: 1}]", "sim.yaml:2: .*did you mean 'probability'"),
    ],
)
def test_invalid_simulation_config_is_rejected(tmp_path, text, message):
    (tmp_path / "sim.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        load(SimulationConfig, tmp_path / "sim.yaml")
