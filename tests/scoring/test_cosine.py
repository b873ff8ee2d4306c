from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import cosine as scipy_cosine
from sklearn.metrics.pairwise import cosine_similarity

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.scoring import cosine
from spkver.scoring import sides as module
from spkver.trials import Trials


def made(ids, dim=16, seed=0, **more):
    vectors = np.random.default_rng(seed).normal(size=(len(ids), dim)).astype(np.float32)
    return Embeddings(list(ids), vectors, **more)


def trials(pairs):
    enrol, test = zip(*pairs)
    return Trials(pa.array(enrol), pa.array(test))


@pytest.mark.parametrize("block", [1, 100, 1 << 18])
def test_cosine_equals_sklearn(monkeypatch, block):
    monkeypatch.setattr(module, "_GATHERED", block)
    embeddings = made([f"u{i}" for i in range(50)])
    rng = np.random.default_rng(1)
    one, other = rng.integers(50, size=(2, 700))
    scores = cosine.score(trials([(f"u{i}", f"u{j}") for i, j in zip(one, other)]), embeddings)
    expected = cosine_similarity(embeddings.vectors.astype(np.float64))[one, other]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert np.abs(scores).max() <= 1


def test_mean_and_test_side_equal_scipy():
    enrol, test = made("abc"), made("abd", seed=1)
    mean = np.random.default_rng(2).normal(size=16)
    pairs = [("a", "a"), ("c", "d"), ("b", "a")]
    scores = cosine.score(trials(pairs), enrol, mean=mean, test=test)
    expected = [
        1 - scipy_cosine(enrol.vectors[enrol.ids.index(i)] - mean, test.vectors[test.ids.index(j)] - mean)
        for i, j in pairs
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_enrolment_of_several_utterances():
    embeddings = made("abcde")
    unit = embeddings.vectors / np.linalg.norm(embeddings.vectors, axis=1, keepdims=True)
    enrolment = {"m": ["a"], "n": ["b", "c", "d"], "unused": ["e", "e"]}
    scores = cosine.score(trials([("n", "e"), ("m", "e"), ("n", "b")]), embeddings, enrolment=enrolment)
    n = unit[1:4].mean(axis=0)
    expected = [1 - scipy_cosine(x, y) for x, y in [(n, unit[4]), (unit[0], unit[4]), (n, unit[1])]]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1.0, 1e20, 3e38])
def test_cosine_is_invariant_to_scale(size):
    vectors = np.array([[1, 0.5], [0.25, -1]], np.float32) * np.float32(size)
    scores = cosine.score(trials([("a", "b"), ("a", "a")]), Embeddings(["a", "b"], vectors))
    np.testing.assert_allclose(scores, [-0.25 / np.hypot(1, 0.5) / np.hypot(0.25, 1), 1], atol=1e-6)


def test_mean_of():
    cohort = made("abcd", model="x")
    np.testing.assert_allclose(cosine.mean_of(cohort, made("e", model="x")), cohort.vectors.mean(axis=0), atol=1e-6)
    with pytest.raises(InputError, match="different models"):
        cosine.mean_of(cohort, made("e", model="y"))
    with pytest.raises(InputError, match="has no embeddings"):
        cosine.mean_of(made(""), made("e"))


def zero_at(row):
    vectors = made("abc").vectors
    vectors[row] = 0
    return Embeddings(list("abc"), vectors)


@pytest.mark.parametrize(
    ("pairs", "embeddings", "more", "message"),
    [
        ([("a", "x"), ("a", "y"), ("a", "x")], made("abc"), {}, "no embedding of 'x': 2 test utterances"),
        ([("x", "a")], made("abc"), {}, "no embedding of 'x': 1 enrolment utterances of the trials"),
        ([("a", "b")], made("abc"), {"test": made("ac")}, "no embedding of 'b': 1 test"),
        ([("a", "b")], made("abc"), {"enrolment": {"m": ["a"]}}, "no embedding of 'a': 1 enrolment models"),
        ([("m", "b")], made("abc"), {"enrolment": {"m": ["z"]}}, "no embedding of 'z': 1 utterances of the enrolment"),
        ([("m", "b")], made("abc"), {"enrolment": {"m": ["a"], "n": []}}, "model 'n' has no utterance"),
        ([("a", "b")], zero_at(2), {}, "the embedding of 'c' has norm zero"),
        ([("a", "b")], made("abc"), {"mean": made("abc").vectors[1]}, "the centred embedding of 'b' has norm zero"),
        ([("a", "b")], made("abc"), {"mean": np.zeros(3)}, "the mean has shape"),
        ([("a", "b")], made("abc", model="p"), {"test": made("abc", model="q")}, "different models .* 'p' and 'q'"),
        ([("a", "b")], made("abc", model="p"), {"test": made("abc")}, "different models .* 'p' and unknown"),
        ([("a", "b")], made("abc"), {"test": made("abc", dim=8)}, "different sizes .* 16 and 8"),
    ],
)
def test_invalid_inputs_are_refused(pairs, embeddings, more, message):
    with pytest.raises(InputError, match=message):
        cosine.score(trials(pairs), embeddings, **more)
