"""The embeddings file: Parquet with columns id, speaker and embedding (a fixed-size list of float32).

Its metadata holds the hash of the model and the front end, so that scoring can refuse to mix models. Unknown speakers
are null. Embeddings of windows also have columns start and end, in seconds, and one id then has many rows. Embeddings
may be stored as float16, or as int8 with a column `scale`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spkver import lists
from spkver.errors import InputError
from spkver.files import StrPath, atomic_file, json_object, refuse_newer
from spkver.storage import located

METADATA = b"spkver"
FORMAT = 2  # of speaker books, which have more columns (spkver/verify/bookfile.py); other files have format 1
_WHAT = "an embeddings file, which is Parquet"
_PART = 1 << 12  # rows decoded at a time
_GROUP = 1 << 16  # minimum rows per row group when writing in parts
DTYPES = ("float32", "float16", "int8")
_INT8_MAX = 127
_CACHED = 1 << 18  # values scaled at a time: they stay in the CPU's cache


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of utterances, not normalised.

    ids: unique id of each row; vectors: finite float32 (rows, dim)
    speakers: speaker of each row, "" if unknown; None if all are unknown
    model: hash of the model, "" if unknown; front_end: config of its front end
    times: start and end of windows in seconds within the recording of the id, float64 (rows, 2); an id then has one row
        per window, with distinct starts
    Raises InputError naming the id, for a vector that is not finite and for a duplicate id.
    """

    ids: list[str]
    vectors: np.ndarray
    speakers: list[str] | None = None
    model: str = ""
    front_end: dict[str, Any] = field(default_factory=dict)
    times: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.vectors.dtype != np.float32 or self.vectors.ndim != 2 or not self.vectors.shape[1]:
            raise InputError(f"embeddings must be float32 (rows, dim), got {self.vectors.dtype} {self.vectors.shape}")
        columns = [self.ids] if self.speakers is None else [self.ids, self.speakers]
        if any(len(column) != len(self.vectors) for column in columns):
            raise InputError(f"{len(self.vectors)} embeddings, but another number of ids or speakers")
        finite = np.isfinite(self.vectors).all(axis=1)
        if not finite.all():
            raise InputError(f"the embedding of '{self.ids[int(np.argmin(finite))]}' is not finite")
        names = pa.array(self.ids, pa.string())
        if self.times is not None:  # NaN and infinity also fail the comparison
            if self.times.shape != (len(self.ids), 2) or not (np.diff(self.times, axis=1) > 0).all():
                raise InputError("each window needs a start and a later end")
            names = pc.binary_join_element_wise(names, pa.array(self.times[:, 0]).cast(pa.string()), "' at '")
        if (twice := lists.first_duplicate(names)) is not None:
            raise InputError(f"the id '{twice}' has two embeddings")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """The number of values in an embedding."""
        return int(self.vectors.shape[1])


def unit(vectors: np.ndarray, ids: Sequence[str] | pa.Array, what: str, mean: np.ndarray | None = None) -> np.ndarray:
    """Vectors (rows, dim) scaled to length 1, float32.

    ids: the name of each row; what: what a row is, for messages; mean: (dim,) subtracted before
    Raises InputError naming the first row of length zero.
    """
    units = np.empty(vectors.shape, np.float32)
    step = max(1, _CACHED // vectors.shape[1])
    for start in range(0, len(vectors), step):
        rows = slice(start, start + step)
        block = units[rows]
        np.subtract(vectors[rows], 0 if mean is None else mean, out=block, casting="same_kind")
        # divided by the largest value first, so that no square overflows or vanishes in float32
        size = np.maximum(block.max(axis=1, keepdims=True), -block.min(axis=1, keepdims=True))
        if not size.all():
            raise InputError(f"the {what} of '{ids[start + int(np.argmin(size))]}' has norm zero")
        block /= size
        block /= np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
    return units


def pack_vectors(vectors: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Convert vectors to a storage type: float32 or float16, or int8 and a scale per vector, float32 (rows,).

    int8 is symmetric: the largest magnitude of a vector becomes 127. Raises InputError for values beyond float16.
    """
    if dtype == "int8":
        scales = (np.abs(vectors).max(axis=1, initial=0) / np.float32(_INT8_MAX)).astype(np.float32)
        # a vector of zeros, or of values too small to divide by 127, becomes zeros
        divisors = np.where(scales > 0, scales, np.inf)[:, None]
        return np.clip(np.rint(vectors / divisors), -_INT8_MAX, _INT8_MAX).astype(np.int8), scales
    with np.errstate(over="ignore"):
        values = vectors.astype(dtype, copy=False)
    if not np.isfinite(values).all():
        raise InputError("values exceed the range of float16; write float32 or int8")
    return values, None


def unpack_vectors(values: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    """Inverse of `pack_vectors`: float32 (rows, dim)."""
    vectors = values.astype(np.float32, copy=False)
    return vectors if scales is None else vectors * np.asarray(scales, np.float32)[:, None]


def write_embeddings(path: StrPath, embeddings: Embeddings, dtype: str = "float32", *, mode: int | None = None) -> None:
    """Write an embeddings file atomically; mode: file permissions, as for `files.atomic_file`."""
    write_parts(path, [embeddings], dtype, mode=mode)


def write_parts(path: StrPath, parts: Iterable[Embeddings], dtype: str = "float32", *, mode: int | None = None) -> int:
    """Write an embeddings file in parts (at least one) of the same model, all with times or all without.

    Returns the number of rows.
    """
    parts = iter(parts)
    first = next(parts)
    rows = 0
    with atomic_file(path, mode) as part:
        schema = table_of(first, dtype).schema
        repeated = ["speaker", *(["id"] if first.times is not None else [])]
        if dtype == "int8":  # Parquet has no one-byte type, but its dictionary indices can be one byte
            repeated += ["embedding.list.element", "embedding.list.item"]  # name in newer and older versions of pyarrow
        compression = {"id": "zstd", "speaker": "zstd"}
        with pq.ParquetWriter(part, schema, use_dictionary=repeated, compression=compression) as writer:
            waiting: list[pa.Table] = []  # merge small parts into larger row groups
            for embeddings in itertools.chain([first], parts):
                waiting.append(table_of(embeddings, dtype))
                rows += len(embeddings)
                if sum(len(table) for table in waiting) >= _GROUP:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting))
    return rows


def table_of(embeddings: Embeddings, dtype: str = "float32") -> pa.Table:
    """Embeddings as the table that is written."""
    values, scales = pack_vectors(np.ascontiguousarray(embeddings.vectors), dtype)
    speakers = embeddings.speakers or [""] * len(embeddings)
    columns: dict[str, pa.Array] = {
        "id": pa.array(embeddings.ids, pa.string()),
        "speaker": pa.array([speaker or None for speaker in speakers], pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), embeddings.dim),
    }
    if embeddings.times is not None:
        columns |= {"start": pa.array(embeddings.times[:, 0]), "end": pa.array(embeddings.times[:, 1])}
    if scales is not None:
        columns["scale"] = pa.array(scales)
    about = json.dumps({"model": embeddings.model, "front_end": embeddings.front_end})
    return pa.table(columns, metadata={METADATA: about})


def read_embeddings(path: StrPath) -> Embeddings:
    """Read an embeddings file.

    Raises InputError naming the file, and the id of an embedding that has another length or is not finite.
    """
    with (
        lists.reading(path, _WHAT),
        pq.ParquetFile(located(path)) as file,  # read_table would add columns for directories named `a=b`
    ):
        return parse_embeddings(file, path)


def parse_embeddings(file: pq.ParquetFile, path: StrPath) -> Embeddings:
    """The embeddings in an open Parquet file. Raises InputError as `read_embeddings`, and the exceptions of Arrow."""
    names = file.schema_arrow.names
    for name in ("id", "embedding"):
        if name not in names:
            raise InputError(f"{path}: no column '{name}'; the columns are {', '.join(names)}")
    table = file.read([name for name in ("id", "speaker", "start", "end", "scale") if name in names])
    ids = table.column("id").cast(pa.string())
    if ids.null_count:
        raise InputError(f"{path}: row {pc.index(pc.is_null(ids), True).as_py() + 1} has no id")
    about = metadata_of(file, path)
    vectors = _vectors(path, file, ids)
    if "scale" in names:
        vectors *= table.column("scale").cast(pa.float32()).to_numpy()[:, None]
    times = None
    if "start" in names and "end" in names:
        columns = [table.column(name).cast(pa.float64()).to_numpy() for name in ("start", "end")]
        times = np.column_stack(columns)
    try:
        return Embeddings(
            ids.to_pylist(), vectors, _speakers(table), about.get("model", ""), about.get("front_end", {}), times
        )
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error


def metadata_of(file: pq.ParquetFile, path: StrPath) -> dict[str, Any]:
    """The metadata of an open embeddings file. Raises InputError naming the file if it is invalid or newer."""
    about = json_object(
        (file.schema_arrow.metadata or {}).get(METADATA, b"{}").decode(errors="replace"), f"{path}: metadata"
    )
    refuse_newer(path, about, FORMAT)
    return about


def read_ids(path: StrPath) -> pa.StringArray:
    """The ids of an embeddings file. Errors as in `read_embeddings`."""
    with lists.reading(path, _WHAT), pq.ParquetFile(located(path)) as file:
        if "id" not in file.schema_arrow.names:
            raise InputError(f"{path}: no column 'id'; the columns are {', '.join(file.schema_arrow.names)}")
        return file.read(["id"]).column("id").cast(pa.string()).combine_chunks()


def read_in_parts(path: StrPath, rows: int) -> Iterator[Embeddings]:
    """An embeddings file in parts of at most `rows` rows, so that memory is bounded. Ids are unique in each part only.

    Errors as in `read_embeddings`; windows are refused.
    """
    with lists.reading(path, _WHAT), pq.ParquetFile(located(path)) as file:
        names = file.schema_arrow.names
        if "id" not in names or not pa.types.is_fixed_size_list(file.schema_arrow.field("embedding").type):
            raise InputError(
                f"{path}: needs the columns id and embedding (of fixed size); 'spkver convert' writes them"
            )
        if "start" in names:
            raise InputError(f"{path}: embeddings of windows; average them first with spkver convert --per utterance")
        about = metadata_of(file, path)
        wanted = [name for name in ("id", "embedding", "scale") if name in names]
        for batch in lists.parquet_batches(file, rows, wanted):
            column = batch.column("embedding")
            values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(batch), column.type.list_size)
            scales = batch.column("scale").to_numpy() if "scale" in names else None
            vectors = unpack_vectors(values, scales)
            ids = batch.column("id").cast(pa.string()).to_pylist()
            try:
                yield Embeddings(ids, vectors, None, about.get("model", ""), about.get("front_end", {}))
            except InputError as error:
                raise InputError(f"{path}: {error}") from error


def _vectors(path: StrPath, file: pq.ParquetFile, ids: pa.ChunkedArray) -> np.ndarray:
    """The embeddings column as a float32 matrix, decoded in parts to limit memory."""
    kind = file.schema_arrow.field("embedding").type
    vectors = np.empty((len(ids), max(getattr(kind, "list_size", 1), 1)), np.float32)
    row = 0
    for part in lists.parquet_batches(file, _PART, ["embedding"]):
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
        # a null within a vector becomes NaN, which Embeddings rejects naming the id
        values = column.flatten()
        if not pa.types.is_float16(values.type):  # older versions of pyarrow cannot cast it
            values = values.cast(pa.float32(), safe=False)
        values = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        vectors[row : row + len(column)] = values.reshape(len(column), -1)
        row += len(column)
    return vectors


def _speakers(table: pa.Table) -> list[str] | None:
    if "speaker" not in table.column_names or table.column("speaker").null_count == len(table):
        return None
    speakers: list[str] = pc.fill_null(table.column("speaker").cast(pa.string()), "").to_pylist()
    return speakers
