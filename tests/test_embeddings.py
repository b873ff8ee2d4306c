from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spkver.embeddings import Embeddings, read_embeddings, read_in_parts, write_embeddings, write_parts
from spkver.errors import InputError


def made(rows=5, dim=3, **more):
    vectors = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    return Embeddings([f"s{i % 2}/é {i}.wav" for i in range(rows)], vectors, **more)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"speakers": ["p", "q", "p", "", "p"], "model": "abc", "front_end": {"bins": 80, "window": "povey"}},
    ],
)
def test_embeddings_round_trip_is_exact(tmp_path, more):
    embeddings = made(**more)
    write_embeddings(tmp_path / "e.parquet", embeddings)
    found = read_embeddings(tmp_path / "e.parquet")
    np.testing.assert_array_equal(found.vectors, embeddings.vectors)
    assert found.vectors.dtype == np.float32
    for name in ("ids", "speakers", "model", "front_end"):
        assert getattr(found, name) == getattr(embeddings, name)


def test_file_has_the_documented_columns(tmp_path):
    write_embeddings(tmp_path / "e.parquet", made(speakers=["p", "p", "q", "q", ""], model="abc"))
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.column_names == ["id", "speaker", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 3)
    assert table.column("speaker").to_pylist() == ["p", "p", "q", "q", None]
    assert b'"model": "abc"' in table.schema.metadata[b"spkver"]


def test_files_of_other_writers_are_read(tmp_path):
    embeddings = made()
    path = tmp_path / "e.parquet"
    for kind, lists in [
        (pa.list_(pa.float32(), 3), embeddings.vectors.tolist()),
        (pa.list_(pa.float64()), embeddings.vectors.tolist()),
        (pa.large_list(pa.float32()), embeddings.vectors.tolist()),
    ]:
        table = pa.table({"id": pa.array(embeddings.ids, pa.large_string()), "embedding": pa.array(lists, kind)})
        pq.write_table(table, path, row_group_size=2)
        found = read_embeddings(path)
        assert found.ids == embeddings.ids and found.speakers is None and found.model == ""
        np.testing.assert_array_equal(found.vectors, embeddings.vectors)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello\n" * 100, None])
def test_file_that_is_not_parquet_is_rejected(tmp_path, content):
    path = tmp_path / "e.parquet"
    if content is not None:
        path.write_bytes(content)
    said = "no such file" if content is None else "not an embeddings file"
    with pytest.raises(InputError, match=rf"e\.parquet: {said}"):
        read_embeddings(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_truncated_embeddings_file_is_rejected(tmp_path, share):
    path = tmp_path / "e.parquet"
    write_embeddings(path, made(rows=500))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="not an embeddings file"):
        read_embeddings(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a", "b"], "embedding": [[1.0, 2.0], [1.0]]}, "the embedding of 'b' has 1 values, the first has 2"),
        ({"id": ["a", "b"], "embedding": [[1.0], [float("nan")]]}, "the embedding of 'b' is not finite"),
        ({"id": ["a", "b"], "embedding": [[1.0], [None]]}, "the embedding of 'b' is not finite"),
        ({"id": ["a", "b"], "embedding": [[1.0], None]}, "'b' has no embedding"),
        ({"id": ["a", None], "embedding": [[1.0], [2.0]]}, "row 2 has no id"),
        ({"id": ["a", "a"], "embedding": [[1.0], [2.0]]}, "the id 'a' has two embeddings"),
        ({"id": ["a"], "embedding": [["x"]]}, "e.parquet: "),
        ({"id": ["a"], "embedding": ["x"]}, "e.parquet: "),
        ({"id": ["a"], "vector": [[1.0]]}, "no column 'embedding'"),
    ],
)
def test_invalid_content_names_the_id(tmp_path, columns, message):
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=message):
        read_embeddings(path)


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["a", "b"], np.float32([[1], [np.inf]]), "'b' is not finite"),
        (["a", "a"], np.float32([[1], [2]]), "'a' has two embeddings"),
        (["a"], np.float32([[1], [2]]), "another number of ids"),
        (["a"], np.float64([[1]]), "float32"),
        (["a"], np.float32([1]), "float32"),
    ],
)
def test_embeddings_reject_invalid_values(ids, vectors, message):
    with pytest.raises(InputError, match=message):
        Embeddings(ids, vectors)


def test_embeddings_without_rows_round_trip(tmp_path):
    write_embeddings(tmp_path / "e.parquet", Embeddings([], np.zeros((0, 7), np.float32)))
    assert read_embeddings(tmp_path / "e.parquet").vectors.shape == (0, 7)


def test_reading_in_parts_holds_one_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr("spkver.embeddings._GROUP", 4096)

    def parts():
        for first in range(0, 16 * 4096, 4096):
            vectors = np.random.default_rng(first).normal(size=(4096, 64)).astype(np.float32)
            yield Embeddings([f"u{first + row:05}" for row in range(4096)], vectors)

    write_parts(tmp_path / "e.parquet", parts())
    assert pq.ParquetFile(tmp_path / "e.parquet").num_row_groups == 16
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_in_parts(tmp_path / "e.parquet", 4096)]
    assert len(held) == 16 and max(held) < 6 << 20  # all are 16 MiB
