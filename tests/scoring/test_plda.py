from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import multivariate_normal

from spkver import compat
from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.scoring.plda import Plda, coral, fit_plda, interpolated, read_plda, write_plda
from spkver.trials import Trials

DIM = 4


def spd(seed, dim=DIM, rank=None):
    root = np.random.default_rng(seed).normal(size=(dim, rank or dim))
    return root @ root.T / dim


TRUE = Plda(np.arange(DIM) / 2.0, spd(0) + 0.1 * np.eye(DIM), 0.5 * spd(1) + 0.1 * np.eye(DIM), "m")


def sampled(plda, counts, seed=0):
    """Embeddings drawn from a model, with this many of each speaker."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(counts)), counts)
    points = rng.multivariate_normal(plda.mean, plda.between, size=len(counts))
    vectors = points[codes] + rng.multivariate_normal(np.zeros(len(plda.mean)), plda.within, size=len(codes))
    return Embeddings([f"u{i}" for i in range(len(codes))], vectors.astype(np.float32), [f"s{c}" for c in codes], "m")


def log_likelihood(plda, embeddings):
    """The log-likelihood of all embeddings, jointly normal within a speaker, by scipy."""
    total = 0.0
    speakers = np.array(embeddings.speakers)
    for speaker in set(embeddings.speakers):
        x = embeddings.vectors[speakers == speaker].astype(float)
        n = len(x)
        covariance = np.kron(np.ones((n, n)), plda.between) + np.kron(np.eye(n), plda.within)
        total += multivariate_normal(np.tile(plda.mean, n), covariance, allow_singular=True).logpdf(x.ravel())
    return total


def ratio(plda, enrolments, test):
    """The log-likelihood ratio by definition: joint normal distributions of one speaker and of two."""

    def joint(*parts):
        n = len(parts)
        covariance = np.kron(np.ones((n, n)), plda.between) + np.kron(np.eye(n), plda.within)
        return multivariate_normal(np.tile(plda.mean, n), covariance).logpdf(np.concatenate(parts))

    return joint(*enrolments, test) - joint(*enrolments) - joint(test)


def test_ratios_of_single_utterances_equal_definition():
    embeddings = sampled(TRUE, [2] * 5)
    ids = pa.array(embeddings.ids)
    trials = Trials(ids.take(pa.array([0, 0, 3, 7])), ids.take(pa.array([1, 2, 9, 7])))
    found = TRUE.sides(embeddings).score(trials)
    x = embeddings.vectors.astype(float)
    expected = [ratio(TRUE, [x[i]], x[j]) for i, j in [(0, 1), (0, 2), (3, 9), (7, 7)]]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("sizes", [(2, 2), (1, 3)])  # sizes are all equal, or not: two ways to compute
def test_ratios_of_several_enrolments_equal_definition(sizes):
    embeddings, tests = sampled(TRUE, [2] * 5), sampled(TRUE, [2] * 3, seed=1)
    groups = {"a": list(range(sizes[0])), "b": list(range(4, 4 + sizes[1]))}
    enrolment = {name: [f"u{i}" for i in rows] for name, rows in groups.items()}
    trials = Trials(pa.array(["a", "b", "b"]), pa.array(["u0", "u1", "u5"]))
    sides = TRUE.sides(embeddings, enrolment=enrolment, test=tests)
    x, y = embeddings.vectors.astype(float), tests.vectors.astype(float)
    expected = [ratio(TRUE, list(x[groups[name]]), y[j]) for name, j in [("a", 0), ("b", 1), ("b", 5)]]
    np.testing.assert_allclose(sides.score(trials), expected, atol=1e-4)
    assert sides.enrol.vectors.shape[1] == (DIM if len(set(sizes)) == 1 else 2 * DIM)


def test_ratios_equal_speechbrain():
    compat.speechbrain()
    from speechbrain.processing.PLDA_LDA import Ndx, StatObject_SB, fast_PLDA_scoring

    def statistics(embeddings):
        names = np.array(embeddings.ids, dtype="|O")
        none = np.array([None] * len(names))
        return StatObject_SB(
            modelset=names, segset=names, start=none, stop=none, stat0=np.ones((len(names), 1)),
            stat1=embeddings.vectors.astype(float),
        )  # fmt: skip

    one, other = sampled(TRUE, [1] * 6), sampled(TRUE, [1] * 7, seed=3)
    names = [np.array(side.ids, dtype="|O") for side in (one, other)]
    theirs = fast_PLDA_scoring(
        statistics(one), statistics(other), Ndx(models=names[0], testsegs=names[1]),
        TRUE.mean, np.linalg.cholesky(TRUE.between), TRUE.within,
    ).scoremat  # fmt: skip
    ours = np.concatenate([block for _, block in TRUE.sides(one, test=other).blocks()])
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("rank", [None, DIM])
def test_fit_recovers_known_parameters(rank):
    counts = np.random.default_rng(0).integers(2, 12, size=3000)
    found = fit_plda(sampled(TRUE, counts), rank=rank, iterations=30)
    np.testing.assert_allclose(found.mean, TRUE.mean, atol=0.06)
    np.testing.assert_allclose(found.within, TRUE.within, atol=0.02)
    np.testing.assert_allclose(found.between, TRUE.between, atol=0.12)


@pytest.mark.parametrize("rank", [None, 2])
def test_em_increases_likelihood(rank):
    embeddings = sampled(TRUE, [1, 2, 3, 4, 5, 6] * 3)
    values = [log_likelihood(fit_plda(embeddings, rank=rank, iterations=n), embeddings) for n in (0, 1, 2, 4, 8, 16)]
    assert (np.diff(values) > -1e-6 * np.abs(values[0])).all(), values
    if rank:
        assert np.linalg.matrix_rank(fit_plda(embeddings, rank=2).between, tol=1e-8) == 2


def test_interpolation_and_coral():
    other = Plda(TRUE.mean + 1, 2 * TRUE.between, 3 * TRUE.within, "m")
    middle = interpolated(TRUE, other, 0.25)
    np.testing.assert_allclose(middle.between, 1.25 * TRUE.between)
    np.testing.assert_allclose(middle.within, 1.5 * TRUE.within)
    np.testing.assert_allclose(middle.mean, TRUE.mean + 0.25)
    # CORAL gives the model the mean and total covariance of the domain
    domain = sampled(other, [1] * 500, seed=5)
    moved = coral(TRUE, domain)
    x = domain.vectors.astype(float)
    np.testing.assert_allclose(moved.between + moved.within, np.cov(x.T, bias=True), atol=1e-6)
    np.testing.assert_allclose(moved.mean, x.mean(axis=0), atol=1e-6)
    with pytest.raises(InputError, match="weight must be"):
        interpolated(TRUE, other, 2)
    with pytest.raises(InputError, match="of the same embeddings"):
        interpolated(TRUE, Plda(TRUE.mean, TRUE.between, TRUE.within, "x"), 0.5)
    with pytest.raises(InputError, match="too few"):
        coral(TRUE, sampled(other, [1] * 4))
    with pytest.raises(InputError, match="the covariance of the domain is singular"):
        coral(TRUE, Embeddings([str(i) for i in range(20)], np.ones((20, 4), np.float32), model="m"))


def test_adaptation_lowers_eer_on_shifted_domain():
    from spkver.metrics import cllr

    moved = Plda(TRUE.mean + 3, 4 * TRUE.between, 4 * TRUE.within, "m")
    tests = sampled(moved, [4] * 60, seed=7)
    same = np.array(tests.speakers)[:, None] == np.array(tests.speakers)
    off = ~np.eye(len(tests), dtype=bool)

    def cost(plda):
        scores = np.concatenate([block for _, block in plda.sides(tests).blocks()])
        return cllr(scores[off], same[off])

    assert cost(coral(TRUE, sampled(moved, [2] * 400, seed=8))) < cost(TRUE) - 0.05
    assert cost(moved) < 1


def test_models_are_read_back_and_invalid_ones_refused(tmp_path):
    write_plda(tmp_path / "p", TRUE)
    found = read_plda(tmp_path / "p")
    for name in ("mean", "between", "within", "model"):
        np.testing.assert_array_equal(getattr(found, name), getattr(TRUE, name))
    with pytest.raises(InputError, match=r"plda\.safetensors"):
        read_plda(tmp_path)
    write_plda(tmp_path / "p", Plda(TRUE.mean, TRUE.between, -TRUE.within))
    with pytest.raises(InputError, match="not a PLDA model"):
        read_plda(tmp_path / "p")
    embeddings = sampled(TRUE, [2] * 5)
    with pytest.raises(InputError, match="of the model 'm', the embeddings"):
        TRUE.sides(Embeddings(embeddings.ids, embeddings.vectors))
    with pytest.raises(InputError, match="the rank must be"):
        fit_plda(embeddings, rank=9)
    with pytest.raises(InputError, match="need the speaker of every embedding"):
        fit_plda(Embeddings(embeddings.ids, embeddings.vectors))
    with pytest.raises(InputError, match="within speakers is singular"):
        fit_plda(sampled(TRUE, [2, 1, 1]))
    for rank in (None, 2):
        with pytest.raises(InputError, match="the speakers do not differ"):
            fit_plda(sampled(TRUE, [30]), rank=rank)
        twins = sampled(TRUE, [30])
        ids = [*twins.ids, *(f"other {name}" for name in twins.ids)]
        twice = Embeddings(ids, np.tile(twins.vectors, (2, 1)), ["a"] * 30 + ["b"] * 30)
        with pytest.raises(InputError, match="the speakers do not differ"):
            fit_plda(twice, rank=rank)
