from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.scoring import cosine
from spkver.scoring import sides as module
from spkver.scoring.sides import Side, Sides
from spkver.trials import Trials, concatenate


def side(name, rows, dim=6, seed=0, offsets=False):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, dim)).astype(np.float32)
    return Side(
        pa.array([f"{name}{i}" for i in range(rows)]), vectors, rng.normal(size=rows).astype(np.float32) * offsets
    )


def listed(pairs, target=None):
    enrol, test = pairs
    return Trials(pa.array([f"e{i}" for i in enrol]), pa.array([f"t{i}" for i in test]), target)


@settings(max_examples=60)
@given(
    size=st.integers(1, 300),
    seed=st.integers(0, 99),
    cells=st.sampled_from([0, 3, 1e9]),  # always gathered, by density, always from the matrix
    product=st.sampled_from([1, 40, 1 << 24]),
    window=st.sampled_from([1, 50, 1 << 22]),
    device=st.sampled_from(["cpu", "cpu:0"]),  # NumPy and torch
    ordered=st.booleans(),
)
def test_gathering_and_matrix_give_same_scores(size, seed, cells, product, window, device, ordered):
    rng = np.random.default_rng(seed)
    sides = Sides(side("e", 13, offsets=True), side("t", 17, seed=1, offsets=True), device=device)
    pairs = rng.integers([[13], [17]], size=(2, size))
    if ordered:
        pairs = pairs[:, np.lexsort(pairs[::-1])]
    expected = sides.enrol.vectors.astype(float) @ sides.test.vectors.T
    expected += sides.enrol.offsets[:, None] + sides.test.offsets
    trials = listed(pairs, rng.random(size) < 0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAIR_IN_CELLS", cells)
        patch.setattr(module, "_PRODUCT", product)
        patch.setattr(module, "_GATHERED", 20)
        patch.setattr(module, "WINDOW", window)
        np.testing.assert_allclose(sides.score(trials), expected[tuple(pairs)], atol=1e-5)
        parts = [trials.take(np.arange(i, min(i + 40, size))) for i in range(0, size, 40)]
        streamed = list(sides.stream(iter(parts)))
        np.testing.assert_allclose(np.concatenate([s.values for s in streamed]), expected[tuple(pairs)], atol=1e-5)
        together = concatenate([s.trials for s in streamed])
        assert together.enrol.to_pylist() == trials.enrol.to_pylist()
        assert together.test.to_pylist() == trials.test.to_pylist()
        assert (together.target == trials.target).all()
        np.testing.assert_allclose(np.concatenate([block for _, block in sides.blocks()]), expected, atol=1e-5)


@pytest.mark.parametrize("cells", [0, 1e9])
def test_devices_give_same_scores(device, cells, monkeypatch):
    monkeypatch.setattr(module, "_PAIR_IN_CELLS", cells)
    rng = np.random.default_rng(0)
    pairs = rng.integers([[300], [400]], size=(2, 5000))
    expected, found = (
        Sides(side("e", 300, dim=192), side("t", 400, dim=192, seed=1), device=where).score(listed(pairs))
        for where in ("cpu", device)
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_matrix_of_cosines_equals_sklearn():
    vectors = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    sides = cosine.sides(Embeddings([f"u{i}" for i in range(40)], vectors))
    found = np.concatenate([block for _, block in sides.blocks()])
    np.testing.assert_allclose(found, cosine_similarity(vectors), atol=1e-6)
    assert found.max() <= 1


def test_invalid_inputs_are_refused():
    with pytest.raises(InputError, match="have different sizes"):
        Sides(side("e", 3), side("t", 3, dim=5)).score(listed([[0], [0]]))
    with pytest.raises(InputError, match="device 'nonsense' cannot be used"):
        Sides(side("e", 3), side("t", 3), device="nonsense").score(listed([[0], [0]]))
    large = Side(pa.array(["e0"]), np.full((1, 6), 3e38, np.float32))
    with pytest.raises(InputError, match="not finite"), np.errstate(over="ignore", invalid="ignore"):
        Sides(large, large).score(Trials(large.ids, large.ids))
