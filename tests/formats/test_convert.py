from __future__ import annotations

import numpy as np
import pytest

from spkver.embeddings import Embeddings, write_embeddings
from spkver.errors import InputError
from spkver.formats import convert as conversion
from spkver.formats.convert import convert, read, write


@pytest.fixture
def embeddings():
    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    return Embeddings([f"s/{i}é" for i in range(5)], vectors, ["p", "p", "q", "", "q"], "abc", {"bins": 80})


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("name", ["e.parquet", "e.npz", "e.ark", "e.scp"])
def test_convert_keeps_everything_that_the_format_can_hold(tmp_path, embeddings, name, text):
    if text and name in ("e.parquet", "e.npz"):
        with pytest.raises(InputError, match=r"only \.ark and \.scp have a text form"):
            write(tmp_path / name, embeddings, text=text)
        return
    write_embeddings(tmp_path / "first.parquet", embeddings)
    convert(tmp_path / "first.parquet", tmp_path / name, text=text)
    back = convert(tmp_path / name, tmp_path / "last.parquet").embeddings
    assert back.ids == embeddings.ids
    np.testing.assert_array_equal(back.vectors, embeddings.vectors)
    if name in ("e.parquet", "e.npz"):  # Kaldi's files contain ids and vectors only
        assert (back.speakers, back.model, back.front_end) == (embeddings.speakers, "abc", {"bins": 80})
    else:
        assert (back.speakers, back.model, back.front_end) == (None, "", {})


def test_npz_with_only_ids_and_vectors_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", ids=["a", "b"], vectors=np.eye(2))
    found = read(tmp_path / "x.npz")
    assert found.ids == ["a", "b"] and found.vectors.dtype == np.float32 and found.speakers is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": ["a"]}, "vectors.*it needs the arrays"),
        ({"ids": np.array(["a"], object), "vectors": np.eye(1)}, "not an npz file of embeddings .*pickle"),
        ({"ids": ["a", "b"], "vectors": np.array([[1], [np.nan]])}, "the embedding of 'b' is not finite"),
        ({"ids": ["a", "a"], "vectors": np.eye(2)}, "the id 'a' has two"),
        ({"ids": ["a"], "vectors": np.array([["x"]])}, "x.npz: no matrix of numbers 'vectors'"),
        ({"ids": ["a"], "vectors": np.ones(3)}, "x.npz: "),
    ],
)
def test_npz_with_wrong_arrays_is_rejected(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"hello", b"\x93NUMPY", None])
def test_file_that_is_not_npz_is_rejected(tmp_path, content):
    if content is not None:
        (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npz: not an npz file"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated_npz_is_rejected(tmp_path, embeddings, share):
    write(tmp_path / "x.npz", embeddings)
    data = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"x\.npz: not an npz file"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no vectors in it"),
        ("a [ 1 2 ]\nb [ 1 ]\n", "the vector of 'b' has 1 values, the first has 2"),
        ("a [ 1 nan ]\n", "the embedding of 'a' is not finite"),
        ("a [ 1 1e99 ]\n", "the embedding of 'a' is not finite"),
        ("a [ 1 ]\na [ 2 ]\n", "the id 'a' has two"),
        ("a [ ]\n", "x.ark: "),
    ],
)
def test_damaged_ark_is_rejected(tmp_path, content, message):
    (tmp_path / "x.ark").write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.ark")


def test_unknown_suffix_is_rejected(tmp_path, embeddings):
    write_embeddings(tmp_path / "e.parquet", embeddings)
    for source, target in [("e.txt", "e.npz"), ("e.parquet", "e"), ("e.parquet", "e.h4")]:
        with pytest.raises(InputError, match=r"use a name ending in \.parquet, \.npz, .*\.ark or \.scp"):
            convert(tmp_path / source, tmp_path / target)


def test_lowest_cosine_covers_all_blocks(embeddings, monkeypatch):
    monkeypatch.setattr(conversion, "_BLOCK", 2)
    turned = embeddings.vectors.copy()
    turned[1] = -turned[1]
    other = Embeddings(embeddings.ids, turned)
    assert conversion.lowest_cosine(embeddings, other) == pytest.approx(-1)
    assert conversion.lowest_cosine(embeddings, embeddings) == pytest.approx(1)
