from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.scoring import cosine, normalisation
from spkver.scoring import sides as module
from spkver.scoring.normalisation import cohort_statistics, normalise, normalise_file
from spkver.trials import Scores, make_trials, read_scores, write_scores


def made(name, rows, seed, **more):
    vectors = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32) + 0.3
    return Embeddings([f"{name}{i:03}" for i in range(rows)], vectors, **more)


EMBEDDINGS, COHORT = made("u", 30, 0), made("c", 70, 1)


@pytest.fixture
def scores():
    trials = make_trials(EMBEDDINGS.ids, [f"s{i % 6}" for i in range(30)], nontargets=100, seed=0)
    return Scores(trials, cosine.score(trials, EMBEDDINGS))


@pytest.mark.parametrize("top", [None, 5, 70])
@pytest.mark.parametrize("method", ["z", "t", "s"])
@pytest.mark.parametrize("block", [100, 1 << 24])
def test_normalisation_equals_definition(monkeypatch, scores, top, method, block):
    monkeypatch.setattr(module, "_PRODUCT", block)
    statistics = cohort_statistics(cosine.sides(EMBEDDINGS, test=COHORT), top)
    found = normalise(scores, statistics, statistics, method)
    against = np.sort(cosine_similarity(EMBEDDINGS.vectors, COHORT.vectors).astype(float), axis=1)[:, -(top or 70) :]
    own = {name: (row.mean(), row.std()) for name, row in zip(EMBEDDINGS.ids, against)}
    for e, t, value, given in zip(
        scores.trials.enrol.to_pylist(), scores.trials.test.to_pylist(), found.values, scores.values
    ):
        z, n = ((given - own[name][0]) / own[name][1] for name in (e, t))
        assert value == pytest.approx({"z": z, "t": n, "s": (z + n) / 2}[method], abs=2e-4)


def test_s_norm_is_symmetric_and_undoes_a_shift(scores):
    plain = cohort_statistics(cosine.sides(EMBEDDINGS, test=COHORT))
    shifted = normalisation.CohortStatistics(plain.ids, 2 * plain.mean + 1, 2 * plain.deviation)
    moved = Scores(scores.trials, 2 * scores.values + 1)
    np.testing.assert_allclose(
        normalise(moved, shifted, shifted).values, normalise(scores, plain, plain).values, atol=1e-4
    )


def test_near_scores_stay_apart(scores):
    statistics = cohort_statistics(cosine.sides(EMBEDDINGS, test=COHORT))
    one = scores.trials.take(np.zeros(2, np.int64))
    found = normalise(Scores(one, np.array([0.5, 0.5 + 1e-9])), statistics, statistics).values
    assert found[0] < found[1] and found[0].astype(np.float32) == found[1].astype(np.float32)


def test_normalise_file(tmp_path, scores):
    statistics = cohort_statistics(cosine.sides(EMBEDDINGS, test=COHORT), 10)
    write_scores(tmp_path / "s", scores)
    assert normalise_file(tmp_path / "s", statistics, statistics, tmp_path / "n") == len(scores)
    expected = normalise(scores, statistics, statistics)
    found = read_scores(tmp_path / "n")
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)  # text has a float32's digits
    assert (found.trials.target == scores.trials.target).all()


def test_invalid_inputs_are_refused(scores):
    sides = cosine.sides(EMBEDDINGS, test=COHORT)
    for top in (1, 71):
        with pytest.raises(InputError, match="between 2 and 70"):
            cohort_statistics(sides, top)
    with pytest.raises(InputError, match="'u000' is in the cohort as well"):
        cohort_statistics(cosine.sides(EMBEDDINGS))
    alike = Embeddings(["a", "b"], np.ones((2, 8), np.float32))
    with pytest.raises(InputError, match="all cohort scores of 'u000' are equal"):
        cohort_statistics(cosine.sides(EMBEDDINGS, test=alike))
    statistics = cohort_statistics(cosine.sides(made("u", 3, 0), test=COHORT))
    with pytest.raises(InputError, match="no cohort scores of 'u"):
        normalise(scores, statistics, statistics)
    with pytest.raises(InputError, match="unknown normalisation 'x'"):
        normalise(scores, statistics, statistics, "x")
