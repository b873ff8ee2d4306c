"""The embeddings file: Parquet with columns id, speaker and embedding (a fixed-size list of float32).

Its metadata says which model made it and with which front end, so that scoring can refuse to mix models. A column of
null speakers means that they are not known.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spkver import lists
from spkver.errors import InputError
from spkver.files import StrPath, atomic_file

_METADATA = b"spkver"


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of utterances, as the network gives them (not normalised).

    ids: one for each row, distinct; vectors: finite float32 (rows, dim)
    speakers: one for each row, "" where not known; None where none is known
    model: the hash of the model that made them, "" where not known; front_end: its front end's config
    Raises InputError naming the id of a vector that is not finite or of an id given twice.
    """

    ids: list[str]
    vectors: np.ndarray
    speakers: list[str] | None = None
    model: str = ""
    front_end: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.vectors.dtype != np.float32 or self.vectors.ndim != 2 or not self.vectors.shape[1]:
            raise InputError(f"embeddings are float32 (rows, dim), got {self.vectors.dtype} {self.vectors.shape}")
        columns = [self.ids] if self.speakers is None else [self.ids, self.speakers]
        if any(len(column) != len(self.vectors) for column in columns):
            raise InputError(f"{len(self.vectors)} embeddings need as many ids and speakers")
        finite = np.isfinite(self.vectors).all(axis=1)
        if not finite.all():
            raise InputError(f"the embedding of '{self.ids[int(np.argmin(finite))]}' is not finite")
        if (twice := lists.first_duplicate(pa.array(self.ids, pa.string()))) is not None:
            raise InputError(f"the id '{twice}' has two embeddings")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """The number of values in an embedding."""
        return int(self.vectors.shape[1])


def write_embeddings(path: StrPath, embeddings: Embeddings) -> None:
    """Write an embeddings file, whole or not at all."""
    vectors = np.ascontiguousarray(embeddings.vectors)
    speakers = embeddings.speakers or [""] * len(embeddings)
    table = pa.table(
        {
            "id": pa.array(embeddings.ids, pa.string()),
            "speaker": pa.array([speaker or None for speaker in speakers], pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), embeddings.dim),
        },
        metadata={_METADATA: json.dumps({"model": embeddings.model, "front_end": embeddings.front_end})},
    )
    with atomic_file(path) as part:
        pq.write_table(table, part, use_dictionary=["speaker"], compression={"id": "zstd", "speaker": "zstd"})


def read_embeddings(path: StrPath) -> Embeddings:
    """Read an embeddings file.

    Raises InputError naming the file, and the id of an embedding of another length or that is not finite.
    """
    try:
        table = pq.ParquetFile(path).read()  # read_table would take columns from directories named `a=b`
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not an embeddings file, which is Parquet ({error})") from error
    for name in ("id", "embedding"):
        if name not in table.column_names:
            raise InputError(f"{path}: no column '{name}', it has {', '.join(table.column_names)}")
    try:
        about = json.loads((table.schema.metadata or {}).get(_METADATA, b"{}"))
        ids = table.column("id").cast(pa.string())
        if ids.null_count:
            raise InputError(f"row {pc.index(pc.is_null(ids), True).as_py() + 1} has no id")
        vectors = _vectors(table.column("embedding").combine_chunks(), ids)
        speakers = _speakers(table)
        return Embeddings(ids.to_pylist(), vectors, speakers, about.get("model", ""), about.get("front_end", {}))
    except (InputError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: {error}") from error


def _vectors(column: pa.Array, ids: pa.ChunkedArray) -> np.ndarray:
    """The rows of a list column as one float32 matrix, without a copy where it is one of fixed size."""
    if column.null_count:
        raise InputError(f"'{ids[pc.index(pc.is_null(column), True).as_py()]}' has no embedding")
    if not pa.types.is_fixed_size_list(column.type):
        lengths = pc.list_value_length(column).to_numpy()
        if len(set(lengths.tolist())) > 1:
            row = int(np.argmax(lengths != lengths[0]))
            raise InputError(f"the embedding of '{ids[row]}' has {lengths[row]} values, the first has {lengths[0]}")
    values = column.flatten().to_numpy(zero_copy_only=False)
    # a null within a vector comes as NaN, which Embeddings refuses by its id
    dim = len(values) // max(len(column), 1) or getattr(column.type, "list_size", 1)
    return values.astype(np.float32, copy=False).reshape(len(column), dim)


def _speakers(table: pa.Table) -> list[str] | None:
    if "speaker" not in table.column_names or table.column("speaker").null_count == len(table):
        return None
    speakers: list[str] = pc.fill_null(table.column("speaker").cast(pa.string()), "").to_pylist()
    return speakers
