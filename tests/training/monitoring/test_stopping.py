from __future__ import annotations

import json
import shutil

import pytest

from spkver.errors import InputError
from spkver.recipe import train
from spkver.training.monitoring.stopping import EarlyStopping
from spkver.training.monitoring.validation import DevSet

QUIET = {"say": lambda text: None}


def test_best_measurement_and_patience():
    best = EarlyStopping(patience=2)
    assert [best.add(step, {"dev_eer": eer}) for step, eer in enumerate([0.3, 0.2, 0.2])] == [True, True, False]
    assert best.rates == {"step": 1, "dev_eer": 0.2} and not best.stops
    again = EarlyStopping(patience=2)
    again.restore(json.loads(json.dumps(best.state())))
    assert not again.add(3, {"dev_eer": 0.25}) and again.stops and not best.stops
    assert again.reason() == "no dev EER below 20.00% (step 1) in 2 measurements (train.patience)"
    assert again.add(4, {"dev_eer": 0.1}) and not again.stops


def test_no_patience_never_stops():
    best = EarlyStopping()
    for step in range(100):
        best.add(step, {"dev_eer": 0.5})
    assert best.since == 99 and not best.stops


@pytest.fixture
def rates(monkeypatch):
    """Dev EERs of the steps 2, 4, ...; the best one is that of step 4."""
    given = [0.4, 0.3, 0.35, 0.3, 0.1, 0.1]
    seen = []

    def error_rates(self, encoder, *more):
        seen.append(given[len(seen)])
        return {"dev_eer": seen[-1], "dev_min_dcf": 1.0}

    monkeypatch.setattr(DevSet, "error_rates", error_rates)
    return seen


@pytest.mark.parametrize("final", ["last", "best"])
def test_run_stops_early(recipe, out, rates, final):
    told = []
    parts = recipe(train={"steps": 12, "dev_every": 2, "checkpoint_every": 12, "patience": 2, "final": final})
    train(parts, out, say=told.append)
    assert rates == [0.4, 0.3, 0.35, 0.3]
    assert "stopped early after step 8: no dev EER below 30.00% (step 4) in 2 measurements (train.patience)" in told
    which = "step 8." if final == "last" else "best dev EER, step 4."
    assert f"Weights: {which}" in (out / "model" / "card.md").read_text()
    # killed after its last checkpoint, before the model was written
    before = (out / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(out / "model")
    (out / "complete").unlink()
    train(parts, out, resume=True, say=told.append)
    assert (out / "model" / "model.safetensors").read_bytes() == before and len(rates) == 4
    assert f"Weights: {which}" in (out / "model" / "card.md").read_text()


def test_patience_needs_dev_speakers(recipe):
    with pytest.raises(InputError, match=r"train.patience counts dev measurements; set data.dev"):
        recipe(data={"dev": None}, train={"patience": 3})
