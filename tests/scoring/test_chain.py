from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.scoring.chain import Chain, fit_chain, read_chain, speaker_covariances, write_chain


def made(rows=400, dim=6, speakers=20, seed=0, model="m"):
    rng = np.random.default_rng(seed)
    codes = np.arange(rows) % speakers
    mixing = rng.normal(size=(dim, dim))
    vectors = rng.normal(size=(speakers, dim))[codes] @ mixing + 0.5 * rng.normal(size=(rows, dim)) + 3
    names = [f"s{c:02}" for c in codes]
    return Embeddings([f"u{i}" for i in range(rows)], vectors.astype(np.float32), names, model)


def covariances(vectors, codes):
    """Covariances (within, total) by a loop, in float64."""
    within = sum(
        (vectors[codes == c] - vectors[codes == c].mean(0)).T @ (vectors[codes == c] - vectors[codes == c].mean(0))
        for c in np.unique(codes)
    )
    return within / len(vectors), np.cov(vectors.T, bias=True)


EMBEDDINGS = made()
CODES = np.arange(400) % 20


def test_centre_and_length():
    vectors = fit_chain(EMBEDDINGS, ["centre", "length"])(EMBEDDINGS).vectors
    expected = EMBEDDINGS.vectors.astype(float) - EMBEDDINGS.vectors.mean(0, dtype=float)
    np.testing.assert_allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_whitening_equals_sklearn_pca():
    vectors = fit_chain(EMBEDDINGS, ["whiten"])(EMBEDDINGS).vectors.astype(float)
    np.testing.assert_allclose(np.cov(vectors.T, bias=True), np.eye(6), atol=1e-4)
    theirs = PCA(whiten=True).fit_transform(EMBEDDINGS.vectors.astype(float))
    # the axes in rising order, and each up to its sign; sklearn divides by one less
    np.testing.assert_allclose(np.abs(vectors[:, ::-1]), np.abs(theirs) * np.sqrt(400 / 399), atol=1e-3)


def test_pca_equals_sklearn():
    vectors = fit_chain(EMBEDDINGS, ["pca:3"])(EMBEDDINGS).vectors
    theirs = PCA(n_components=3).fit_transform(EMBEDDINGS.vectors.astype(float))  # each axis up to its sign
    np.testing.assert_allclose(np.abs(vectors), np.abs(theirs), atol=1e-4)


@settings(max_examples=20)
@given(words=st.lists(st.sampled_from(["centre", "whiten", "pca:5", "lda:5", "wccn"]), max_size=4))
def test_affine_map_equals_steps(words):
    chain = fit_chain(EMBEDDINGS, words[: [*words, "lda:5"].index("lda:5") + 1])  # after lda there are fewer
    matrix, offset = chain.affine(6)
    expected = chain(EMBEDDINGS).vectors
    assert matrix.shape == (6, expected.shape[1])
    np.testing.assert_allclose(EMBEDDINGS.vectors @ matrix + offset, expected, atol=1e-4, rtol=1e-4)


def test_length_is_not_affine():
    with pytest.raises(InputError, match="the step 'length' is not affine"):
        fit_chain(EMBEDDINGS, ["centre", "length"]).affine(6)
    with pytest.raises(InputError, match="the step 'centre' takes 6 values"):
        fit_chain(EMBEDDINGS, ["centre"]).affine(5)


def test_speaker_covariances_sum_to_total_covariance():
    """The sum of within- and between-speaker covariance is the total covariance, also with unequal numbers."""
    rows = np.flatnonzero(np.arange(400) // 20 <= CODES)  # one of the first speaker, two of the second, ...
    codes = CODES[rows]
    some = Embeddings([str(row) for row in rows], EMBEDDINGS.vectors[rows], [f"s{code}" for code in codes])
    vectors = some.vectors.astype(float)
    assert np.bincount(codes).tolist() == list(range(1, 21))
    within, between = speaker_covariances(some, vectors)
    expected, total = covariances(vectors, codes)
    np.testing.assert_allclose(within, expected, atol=1e-10)
    np.testing.assert_allclose(within + between, total, atol=1e-10)


def test_wccn_makes_within_speaker_covariance_identity():
    vectors = fit_chain(EMBEDDINGS, ["wccn"])(EMBEDDINGS).vectors.astype(float)
    np.testing.assert_allclose(covariances(vectors, CODES)[0], np.eye(6), atol=1e-4)


def test_lda_equals_scipy_and_sklearn():
    vectors = fit_chain(EMBEDDINGS, ["lda:3"])(EMBEDDINGS).vectors.astype(float)
    given_ = EMBEDDINGS.vectors.astype(float)
    within, total = covariances(given_, CODES)
    values, axes = eigh(total - within, within)
    expected = (given_ - given_.mean(0)) @ axes[:, ::-1][:, :3]
    np.testing.assert_allclose(np.abs(vectors), np.abs(expected), atol=1e-3)
    theirs = LinearDiscriminantAnalysis(solver="eigen", n_components=3).fit_transform(given_, CODES)
    for ours, other in zip(vectors.T, theirs.T):
        assert abs(np.corrcoef(ours, other)[0, 1]) == pytest.approx(1, abs=1e-5)
    spread = np.diag(covariances(vectors, CODES)[1] - covariances(vectors, CODES)[0])
    np.testing.assert_allclose(spread, values[::-1][:3], rtol=1e-3)


@settings(max_examples=15)
@given(seed=st.integers(0, 99))
def test_lda_is_invariant_to_affine_maps(seed):
    mixing = np.random.default_rng(seed).normal(size=(6, 6)) + 2 * np.eye(6)
    moved = Embeddings(
        EMBEDDINGS.ids, (EMBEDDINGS.vectors @ mixing + 1).astype(np.float32), EMBEDDINGS.speakers, EMBEDDINGS.model
    )
    one, other = (fit_chain(given_, ["lda:2"])(given_).vectors for given_ in (EMBEDDINGS, moved))
    np.testing.assert_allclose(np.abs(one), np.abs(other), atol=0.02)


def test_chain_equals_its_steps_and_is_read_back(tmp_path):
    chain = fit_chain(EMBEDDINGS, ["centre", "lda:4", "length", "wccn"])
    others = made(50, seed=1)
    step_by_step = others
    trained = EMBEDDINGS
    for name in ("centre", "lda:4", "length", "wccn"):
        one = fit_chain(trained, [name])
        trained, step_by_step = (
            one(trained),
            one(Embeddings(*(getattr(step_by_step, f) for f in ("ids", "vectors", "speakers", "model")))),
        )
    np.testing.assert_allclose(np.abs(chain(others).vectors), np.abs(step_by_step.vectors), atol=1e-3)
    write_chain(tmp_path / "chain", chain)
    found = read_chain(tmp_path / "chain")
    np.testing.assert_array_equal(found(others).vectors, chain(others).vectors)
    assert found(others).model == chain(others).model != "m" and found(others).ids == others.ids
    assert chain(Embeddings([], np.zeros((0, 6), np.float32), None, "m")).ids == []


def test_invalid_inputs_are_refused(tmp_path):
    for words, message in [
        (["centr"], "did you mean 'centre'"),
        (["lda"], "unknown step 'lda'"),
        (["length:3"], "unknown step"),
        (["lda:7"], "from 1 to 6"),
        (["pca"], "unknown step 'pca'; .*pca:K"),
        (["pca:0"], "from 1 to 6"),
        (["pca:7"], "from 1 to 6"),
    ]:
        with pytest.raises(InputError, match=message):
            fit_chain(EMBEDDINGS, words)
    few = made(speakers=4)  # the means of 4 speakers differ in 3 directions
    assert fit_chain(few, ["lda:3"])(few).dim == 3
    with pytest.raises(InputError, match="lda:4: give a number from 1 to 3 for these speakers"):
        fit_chain(few, ["lda:4"])
    alone = Embeddings(EMBEDDINGS.ids, EMBEDDINGS.vectors, ["one"] * len(EMBEDDINGS))
    with pytest.raises(InputError, match="lda:1: all embeddings are of one speaker"):
        fit_chain(alone, ["lda:1"])
    with pytest.raises(InputError, match="need the speaker of every embedding"):
        fit_chain(Embeddings(EMBEDDINGS.ids, EMBEDDINGS.vectors), ["wccn"])
    with pytest.raises(InputError, match="no speaker has two"):
        fit_chain(Embeddings(EMBEDDINGS.ids, EMBEDDINGS.vectors, EMBEDDINGS.ids), ["wccn"])
    with pytest.raises(InputError, match="2 of 6 eigenvalues are 0; put pca:N before it, with N at most 4"):
        flat = EMBEDDINGS.vectors.copy()
        flat[:, :2] = 1
        fit_chain(Embeddings(EMBEDDINGS.ids, flat), ["whiten"])
    chain = fit_chain(EMBEDDINGS, ["centre"])
    with pytest.raises(InputError, match="of the model 'm', the embeddings are of 'x'"):
        chain(made(model="x"))
    with pytest.raises(InputError, match="takes 6 values"):
        chain(made(dim=5))
    with pytest.raises(InputError, match=r"chain\.safetensors and"):
        read_chain(tmp_path)
    write_chain(tmp_path / "c", Chain(()))
    for text, message in [
        ("[1]", "not a chain"),
        ("model: m", "not a chain"),
        ("model: m\nsteps: centre", "not a chain of transforms .its steps are centre; known: centre, whiten"),
        ("model: m\nsteps: [center]", "not a chain of transforms .its steps are"),
        ("model: m\nsteps: [[]]", "not a chain of transforms"),
        ("[" * 10_000, r"chain\.yaml: nested too deeply"),
        ("a: !!python/object:os.system {}", r"chain\.yaml:1: the tag .* is not allowed"),
    ]:
        (tmp_path / "c" / "chain.yaml").write_text(text)
        with pytest.raises(InputError, match=message):
            read_chain(tmp_path / "c")
    (tmp_path / "c" / "chain.yaml").write_bytes(b"model: \xe9")
    with pytest.raises(InputError, match=r"chain\.yaml:1: not UTF-8 text"):
        read_chain(tmp_path / "c")
