from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from spkver.errors import InputError
from spkver.verify.decision import Calibration, Decision, Rate, read_decision, write_decision

RATE = Rate(rate=0.01, low=0.001, high=0.03, errors=10, trials=1000)
CALIBRATION = Calibration(scale=10.0, offset=-4.0, least=-6.0, most=8.0, prior=0.5)
DECISION = Decision(
    threshold=0.4, low=0.3, high=0.5, wish="a wish", far=RATE, frr=RATE, calibration=CALIBRATION, speakers=20
)


@pytest.fixture
def model(tmp_path):
    """The files that the hash of a model directory covers."""
    (tmp_path / "config.yaml").write_text("model: xvector\n")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_decision_is_stored_in_the_model_directory(model):
    assert read_decision(model) is None
    path = write_decision(model, DECISION)
    found = read_decision(model)
    assert found == DECISION.model_copy(update={"model": found.model}) and found.model
    assert path == model / "decision.yaml" and sorted(p.name for p in model.iterdir())[1] == "decision.yaml"
    write_decision(model, DECISION.model_copy(update={"threshold": 0.6}))  # the model's hash does not change
    again = read_decision(model)
    assert again.threshold == 0.6 and again.model == found.model


def test_read_decision_rejects_that_of_another_model(model):
    write_decision(model, DECISION)
    (model / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"decision\.yaml: of another model; choose a new threshold"):
        read_decision(model)


def test_write_decision_rejects_a_folder_without_a_model(tmp_path):
    with pytest.raises(InputError, match="not a model directory"):
        write_decision(tmp_path, DECISION)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("threshold: 0.4", "threshold: .nan", "threshold"),
        ("threshold: 0.4", "treshold: 0.4", "unknown key 'treshold'; did you mean 'threshold'"),
        ("scale: 10.0", "scale: -1", "scale"),
    ],
)
def test_read_decision_names_an_invalid_file(model, old, new, said):
    path = write_decision(model, DECISION)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=r"decision\.yaml:\d+: ") as caught:
        read_decision(model)
    assert said in str(caught.value)


@given(st.floats(-1, 1), st.floats(0.001, 0.999))
def test_probability_follows_bayes_rule(score, prior):
    ratio = np.clip(10 * score - 4, -6, 8)
    assert CALIBRATION.ratio(score) == pytest.approx(ratio)
    assert CALIBRATION.probability(score, prior) == pytest.approx(expit(ratio + logit(prior)))


@pytest.mark.parametrize("prior", [0, 1, -1, math.nan])
def test_prior_outside_0_and_1_is_rejected(prior):
    with pytest.raises(InputError, match="prior"):
        CALIBRATION.probability(0.5, prior)


def test_read_decision_with_a_changed_byte_raises_only_input_errors(model, damaged):
    path = write_decision(model, DECISION)
    outcomes = set()
    for _ in damaged(path):
        try:
            outcomes.add(type(read_decision(model)))
        except InputError as error:
            outcomes.add("refused")
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
    assert outcomes == {Decision, "refused"}
