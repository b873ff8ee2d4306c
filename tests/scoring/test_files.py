from __future__ import annotations

import numpy as np
import pytest

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.scoring import cosine
from spkver.scoring import sides as module
from spkver.scoring.files import score_all, score_list
from spkver.trials import make_trials, read_scores, write_trials


@pytest.fixture
def sides():
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    return cosine.sides(Embeddings([f"u{i:02}" for i in range(30)], vectors))


@pytest.mark.parametrize("out", ["out", "out.csv", "out.parquet"])
@pytest.mark.parametrize("name", ["t", "t.csv", "t.parquet"])
def test_score_list(tmp_path, monkeypatch, sides, name, out):
    monkeypatch.setattr(module, "WINDOW", 50)
    trials = make_trials(sides.enrol.ids.to_pylist(), [f"s{i % 5}" for i in range(30)], nontargets=200, seed=0)
    write_trials(tmp_path / name, trials)
    assert score_list(tmp_path / name, sides, tmp_path / out) == len(trials)
    found = read_scores(tmp_path / out)
    assert found.trials.enrol.to_pylist() == trials.enrol.to_pylist()
    assert found.trials.test.to_pylist() == trials.test.to_pylist()
    assert (found.trials.target == trials.target).all()
    np.testing.assert_allclose(found.values, sides.score(trials), atol=1e-6)


@pytest.mark.parametrize("out", ["out", "out.csv", "out.parquet", "out.npz"])
def test_score_all(tmp_path, monkeypatch, sides, out):
    monkeypatch.setattr(module, "_PRODUCT", 100)
    assert score_all(sides, tmp_path / out) == 900
    expected = sides.enrol.vectors @ sides.test.vectors.T
    if out.endswith(".npz"):
        with np.load(tmp_path / out) as found:
            assert found["enrol"].tolist() == found["test"].tolist() == sides.enrol.ids.to_pylist()
            np.testing.assert_allclose(found["scores"], expected, atol=1e-6)
        return
    found = read_scores(tmp_path / out)
    np.testing.assert_allclose(found.values.reshape(30, 30), expected, atol=1e-6)
    assert found.trials.enrol.to_pylist()[:31] == ["u00"] * 30 + ["u01"]
    assert found.trials.test.to_pylist()[:31] == [*sides.test.ids.to_pylist(), "u00"]


def test_no_output_if_an_id_has_no_embedding(tmp_path, sides):
    (tmp_path / "t").write_text("u00 u01\nu00 nobody\n")
    with pytest.raises(InputError, match="no embedding of 'nobody'"):
        score_list(tmp_path / "t", sides, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
