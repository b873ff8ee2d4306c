from __future__ import annotations

import numpy as np
import pytest

from spkver.embeddings import Embeddings, write_embeddings
from spkver.errors import InputError
from spkver.scoring import highest
from spkver.scoring.backend import BackEnd
from spkver.scoring.highest import Search, score_top
from spkver.trials import read_scores
from spkver.work import Local, Share, gather


@pytest.fixture
def files(tmp_path, monkeypatch):
    """`enrol.parquet` and `test.parquet`; many scores are equal. Parts, blocks and tiles are small."""
    for name, value in (("_ROWS", 16), ("_BLOCK", 64), ("_TILE", (8, 16))):
        monkeypatch.setattr(highest, name, value)
    random = np.random.default_rng(0)
    for name, rows in (("enrol", 50), ("test", 300)):
        vectors = random.integers(-1, 2, size=(rows, 6)).astype(np.float32)
        vectors[:, 0] = 1
        write_embeddings(tmp_path / f"{name}.parquet", Embeddings([f"{name}{row:03}" for row in range(rows)], vectors))
    return tmp_path


def expected(folder, top, sides, itself=False):
    scores = np.concatenate([block for _, block in sides.blocks()])
    if itself:
        np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : min(top, scores.shape[1] - itself)]
    tests = np.array(sides.test.ids.to_pylist())
    return tests[order], np.take_along_axis(scores, order, axis=1)


@pytest.mark.parametrize("top", [1, 7, 100, 400])
@pytest.mark.parametrize("itself", [False, True])
def test_highest_scores_are_those_of_the_whole_matrix(files, top, itself):
    """Equal scores are in the order of the tests."""
    test = None if itself else files / "test.parquet"
    back_end = BackEnd()
    names, scores = expected(files, top, back_end.open(files / "enrol.parquet", test=test), itself)
    search = Search(back_end, files / "enrol.parquet", test)
    assert score_top(search, top, files / "out.parquet", on=Local(1, 2)) == scores.size
    found = read_scores(files / "out.parquet")
    rounded = found.values.reshape(scores.shape)
    np.testing.assert_allclose(rounded, scores, atol=1e-6)
    assert (
        found.trials.enrol.to_pylist() == np.repeat([f"enrol{row:03}" for row in range(50)], scores.shape[1]).tolist()
    )
    exact = np.array(found.trials.test.to_pylist()).reshape(names.shape)
    assert (np.diff(rounded, axis=1) <= 0).all()
    for row, ids in enumerate(exact):
        assert len(set(ids)) == len(ids) and (f"enrol{row:03}" not in ids or not itself)
        ties = np.flatnonzero(np.diff(rounded[row]) == 0)
        assert all(ids[at] < ids[at + 1] for at in ties)


def test_enrolment_models_and_mean(files):
    (files / "models").write_text("a enrol000 enrol001\nb enrol002\n")
    back_end = BackEnd(mean=files / "test.parquet")
    sides = back_end.open(files / "enrol.parquet", test=files / "test.parquet", enrolment=files / "models")
    _, scores = expected(files, 5, sides)
    search = Search(back_end, files / "enrol.parquet", files / "test.parquet", files / "models")
    assert score_top(search, 5, files / "out.txt") == 10
    np.testing.assert_allclose(read_scores(files / "out.txt").values.reshape(2, 5), scores, atol=1e-5)


@pytest.mark.parametrize("out", ["out.txt", "out.csv", "out.parquet"])
def test_shares_of_several_runs_are_gathered_to_the_same_bytes(files, out):
    search = Search(BackEnd(), files / "enrol.parquet", files / "test.parquet")
    (files / "whole").mkdir()
    score_top(search, 9, files / "whole" / out, on=Local(2))
    with pytest.raises(InputError, match="no parts to gather"):
        gather(files / out)
    assert score_top(search, 9, files / out, share=Share(2, 3)) is None
    with pytest.raises(InputError, match="3 of 4 parts are missing"):
        gather(files / out)
    for number in (3, 1):
        score_top(search, 9, files / out, share=Share(number, 3), on=Local(1, 2))
    gather(files / out)
    assert (files / out).read_bytes() == (files / "whole" / out).read_bytes()
    assert not list(files.glob("*.partial"))


def test_invalid_inputs_are_refused(files):
    search = Search(BackEnd(), files / "enrol.parquet")
    with pytest.raises(InputError, match="are a list"):
        score_top(search, 5, files / "out.npz")
    (files / "none.parquet").write_text("")
    with pytest.raises(InputError, match=r"none\.parquet: not an embeddings file"):
        score_top(Search(BackEnd(), files / "enrol.parquet", files / "none.parquet"), 5, files / "out.txt")


def test_equal_to_faiss(files):
    faiss = pytest.importorskip("faiss")
    random = np.random.default_rng(1)
    vectors = random.normal(size=(500, 24)).astype(np.float32)
    write_embeddings(files / "random.parquet", Embeddings([f"{row:03}" for row in range(500)], vectors))
    score_top(Search(BackEnd(), files / "random.parquet", files / "random.parquet"), 10, files / "out.parquet")
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(24)
    index.add(units)
    scores, rows = index.search(units, 10)
    found = read_scores(files / "out.parquet")
    assert found.trials.test.to_pylist() == [f"{row:03}" for row in rows.ravel()]
    np.testing.assert_allclose(found.values, scores.ravel(), atol=1e-6)


def test_device_that_would_not_be_used_is_refused(files):
    search = Search(BackEnd(device="cuda"), files / "enrol.parquet", files / "test.parquet")
    with pytest.raises(InputError, match="computed on the CPU"):
        score_top(search, 9, files / "out.parquet")
