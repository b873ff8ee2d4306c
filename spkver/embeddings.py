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
_PART = 1 << 12  # rows decoded at a time


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


def write_embeddings(path: StrPath, embeddings: Embeddings, mode: int | None = None) -> None:
    """Write an embeddings file, whole or not at all; mode: who may read it, as for `files.atomic_file`."""
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
    with atomic_file(path, mode) as part:
        pq.write_table(table, part, use_dictionary=["speaker"], compression={"id": "zstd", "speaker": "zstd"})


def read_embeddings(path: StrPath) -> Embeddings:
    """Read an embeddings file.

    Raises InputError naming the file, and the id of an embedding of another length or that is not finite.
    """
    try:
        with pq.ParquetFile(path) as file:  # read_table would take columns from directories named `a=b`
            names = file.schema_arrow.names
            for name in ("id", "embedding"):
                if name not in names:
                    raise InputError(f"{path}: no column '{name}', it has {', '.join(names)}")
            table = file.read([name for name in ("id", "speaker") if name in names])
            ids = table.column("id").cast(pa.string())
            if ids.null_count:
                raise InputError(f"{path}: row {pc.index(pc.is_null(ids), True).as_py() + 1} has no id")
            vectors = _vectors(path, file, ids)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not an embeddings file, which is Parquet ({error})") from error
    try:
        about = json.loads((table.schema.metadata or {}).get(_METADATA, b"{}"))
        return Embeddings(
            ids.to_pylist(), vectors, _speakers(table), about.get("model", ""), about.get("front_end", {})
        )
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error


def _vectors(path: StrPath, file: pq.ParquetFile, ids: pa.ChunkedArray) -> np.ndarray:
    """The column of embeddings as one float32 matrix, some rows at a time (decoding takes more memory)."""
    kind = file.schema_arrow.field("embedding").type
    vectors = np.empty((len(ids), max(getattr(kind, "list_size", 1), 1)), np.float32)
    row = 0
    for part in file.iter_batches(_PART, columns=["embedding"]):
        column = part.column(0)
        if column.null_count:
            name = ids[row + pc.index(pc.is_null(column), True).as_py()]
            raise InputError(f"{path}: '{name}' has no embedding")
        if not pa.types.is_fixed_size_list(kind):
            lengths = pc.list_value_length(column).to_numpy()
            if not row:
                vectors = np.empty((len(ids), max(lengths[0], 1)), np.float32)
            if (other := lengths != vectors.shape[1]).any():
                at = int(np.argmax(other))
                sizes = f"has {lengths[at]} values, the first has {vectors.shape[1]}"
                raise InputError(f"{path}: the embedding of '{ids[row + at]}' {sizes}")
        # a null within a vector comes as NaN, which Embeddings refuses by its id
        values = column.flatten().cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
        vectors[row : row + len(column)] = values.reshape(len(column), -1)
        row += len(column)
    return vectors


def _speakers(table: pa.Table) -> list[str] | None:
    if "speaker" not in table.column_names or table.column("speaker").null_count == len(table):
        return None
    speakers: list[str] = pc.fill_null(table.column("speaker").cast(pa.string()), "").to_pylist()
    return speakers
