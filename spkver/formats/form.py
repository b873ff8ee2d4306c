"""The interface of embedding file formats for `spkver.formats.convert`, and shared helpers."""

from __future__ import annotations

import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spkver.embeddings import DTYPES, Embeddings, pack_vectors, unpack_vectors
from spkver.errors import InputError
from spkver.files import StrPath, refuse_newer

# exceptions of np.load for files of other formats, or damaged
NUMPY_ERRORS = (
    *(OSError, ValueError, EOFError, TypeError, AttributeError, MemoryError, OverflowError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, struct.error),
)


@dataclass(frozen=True)
class Form:
    """read(path), and write(path, embeddings, dtype); errors are InputErrors, which need not name the file.

    dtypes: storage types; times: whether windows are supported; exact: whether float32 is lossless
    """

    read: Callable[[StrPath], Embeddings]
    write: Callable[[StrPath, Embeddings, str], None]
    dtypes: tuple[str, ...] = DTYPES
    times: bool = True
    exact: bool = True


def to_arrays(embeddings: Embeddings, dtype: str) -> dict[str, np.ndarray]:
    """The arrays `vectors`, `scales` (int8 only) and `times` (windows only)."""
    vectors, scales = pack_vectors(np.ascontiguousarray(embeddings.vectors), dtype)
    arrays = {"vectors": vectors, "scales": scales, "times": embeddings.times}
    return {name: array for name, array in arrays.items() if array is not None}


def from_arrays(
    arrays: Mapping[str, np.ndarray], ids: list[str], speakers: list[str] | None, about: Mapping[str, Any]
) -> Embeddings:
    """Embeddings from the output of `to_arrays` and `about_model`. Raises InputError for inconsistent arrays."""
    vectors, scales, times = (arrays.get(name) for name in ("vectors", "scales", "times"))
    if vectors is None or vectors.dtype.kind not in "fi" or vectors.ndim != 2:
        raise InputError("no matrix of numbers 'vectors' in it")
    if scales is not None and (scales.shape != (len(vectors),) or scales.dtype.kind != "f"):
        raise InputError("'scales' are not one number for each vector")
    with np.errstate(over="ignore"):  # values too large for float32 are refused as not finite, by id
        vectors = unpack_vectors(vectors, scales)
    if times is not None:
        times = times.astype(np.float64)
    model, front_end = about.get("model", ""), about.get("front_end", "{}")
    try:
        front_end = json.loads(front_end) if isinstance(front_end, str) else front_end
    except ValueError as error:
        raise InputError(f"its front end is not JSON ({error})") from error
    return Embeddings(ids, vectors, speakers, str(model), front_end, times)


def refuse_newer_form(path: Any, about: Mapping[str, Any]) -> None:
    """Raise NewerFormatError for an embeddings file of a newer spkver, by its `format` if it names a model.

    Files of other toolkits may have another attribute `format`.
    """
    if "model" in about:
        refuse_newer(path, about)


def about_model(embeddings: Embeddings) -> dict[str, str]:
    """The hash of the model and its front end, as text."""
    return {"model": embeddings.model, "front_end": json.dumps(embeddings.front_end)}
