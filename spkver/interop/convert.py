"""Embeddings between Parquet, NumPy's npz and npy, and Kaldi's ark and scp, told apart by their names.

| name     | holds                                                                                          |
|----------|------------------------------------------------------------------------------------------------|
| .parquet | all                                                                                            |
| .npz     | all, as arrays `ids`, `vectors`, `speakers` (where known), `model`, `front_end` (JSON)         |
| .npy     | vectors; a text file of the same name with `.ids` holds one id a line, in the order of the rows |
| .ark     | ids and vectors                                                                                |
| .scp     | the same: an ark file of the same name beside it holds the vectors                             |
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from spkver import lists
from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.errors import InputError
from spkver.files import StrPath, atomic_file, write_text
from spkver.interop import kaldi

_FORMATS = (".parquet", ".npz", ".npy", ".ark", ".scp")


def convert(source: StrPath, target: StrPath, *, text: bool = False) -> Embeddings:
    """Read embeddings in one format, write them in another, and return them.

    text: write Kaldi's text form (.ark and .scp only)
    Raises InputError for what cannot be read or written.
    """
    _suffix(target)  # before the work
    embeddings = read(source)
    write(target, embeddings, text=text)
    return embeddings


def read(path: StrPath) -> Embeddings:
    """Read embeddings in the format that the file's name says."""
    suffix = _suffix(path)
    if suffix == ".parquet":
        return read_embeddings(path)
    try:
        if suffix == ".npz":
            return _read_npz(path)
        if suffix == ".npy":
            return _read_npy(path)
        return _stack(kaldi.read_scp(path) if suffix == ".scp" else kaldi.read_ark(path))
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith(str(path)) else f"{path}: {message}") from error


def write(path: StrPath, embeddings: Embeddings, *, text: bool = False) -> None:
    """Write embeddings in the format that the file's name says."""
    suffix = _suffix(path)
    if text and suffix not in (".ark", ".scp"):
        raise InputError(f"{path}: only .ark and .scp have a text form")
    if suffix == ".parquet":
        write_embeddings(path, embeddings)
    elif suffix == ".npz":
        _write_npz(path, embeddings)
    elif suffix == ".npy":
        _write_npy(path, embeddings)
    else:
        ark = Path(path).with_suffix(".ark")
        kaldi.write_ark(ark, embeddings.ids, embeddings.vectors, scp=path if suffix == ".scp" else None, text=text)


def _suffix(path: StrPath) -> str:
    suffix = Path(path).suffix
    if suffix not in _FORMATS:
        raise InputError(f"{path}: the format is told by the name: use {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}")
    return suffix


def _stack(pairs: Iterable[tuple[str, np.ndarray]]) -> Embeddings:
    ids: list[str] = []
    vectors: list[np.ndarray] = []
    for key, vector in pairs:
        if vectors and len(vector) != len(vectors[0]):
            raise InputError(f"the vector of '{key}' has {len(vector)} values, the first has {len(vectors[0])}")
        ids.append(key)
        vectors.append(vector)
    if not ids:
        raise InputError("there are no vectors in it")
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as not finite, by its id
        return Embeddings(ids, np.array(vectors).astype(np.float32, copy=False))


def _read_npz(path: StrPath) -> Embeddings:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            speakers = arrays["speakers"].astype(str).tolist() if "speakers" in arrays else None
            return Embeddings(
                ids=arrays["ids"].astype(str).ravel().tolist(),
                vectors=arrays["vectors"].astype(np.float32, copy=False),
                speakers=speakers,
                model=str(arrays["model"]) if "model" in arrays else "",
                front_end=json.loads(str(arrays["front_end"])) if "front_end" in arrays else {},
            )
    except KeyError as error:
        raise InputError(f"{error.args[0]}: it needs the arrays 'ids' and 'vectors'") from error
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"not an npz file of embeddings ({error})") from error


def _read_npy(path: StrPath) -> Embeddings:
    ids = Path(path).with_suffix(".ids")
    try:
        vectors = np.load(path, allow_pickle=False)
        if vectors.ndim != 2:
            raise ValueError(f"expected a matrix, its shape is {vectors.shape}")
        vectors = vectors.astype(np.float32, copy=False)
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise InputError(f"not an npy file of embeddings ({error})") from error
    names = lists.read_lines(ids).to_pylist()
    if len(names) != len(vectors):
        raise InputError(f"{ids} holds {len(names)} ids for {len(vectors)} embeddings")
    return Embeddings(names, vectors)


def _write_npy(path: StrPath, embeddings: Embeddings) -> None:
    if any("\n" in name or not name.strip() for name in embeddings.ids):
        raise InputError(f"{path}: an id is empty or holds a line end: write .npz or .parquet")
    with atomic_file(path) as part, open(part, "wb") as stream:
        np.save(stream, embeddings.vectors)
    write_text(Path(path).with_suffix(".ids"), "".join(f"{name}\n" for name in embeddings.ids))


def _write_npz(path: StrPath, embeddings: Embeddings) -> None:
    arrays: dict[str, Any] = {
        "ids": np.array(embeddings.ids, np.str_),
        "vectors": embeddings.vectors,
        "model": np.array(embeddings.model),
        "front_end": np.array(json.dumps(embeddings.front_end)),
    }
    if embeddings.speakers is not None:
        arrays["speakers"] = np.array(embeddings.speakers, np.str_)
    with atomic_file(path) as part, open(part, "wb") as stream:
        np.savez(stream, **arrays)
