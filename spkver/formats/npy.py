"""NumPy npy: vectors; a text file of the same name with `.ids` has one id per line, in row order."""

from __future__ import annotations

import numpy as np

from spkver import lists
from spkver.embeddings import Embeddings, pack_vectors
from spkver.errors import InputError
from spkver.files import StrPath, atomic_files
from spkver.formats.form import NUMPY_ERRORS, Form, from_arrays
from spkver.storage import located


def read(path: StrPath) -> Embeddings:
    """Read an npy file and its ids."""
    ids = located(path).with_suffix(".ids")
    try:
        vectors = np.load(path, allow_pickle=False)
        if vectors.ndim != 2:
            raise ValueError(f"expected a matrix, its shape is {vectors.shape}")
    except NUMPY_ERRORS as error:
        raise InputError(f"not an npy file of embeddings ({error})") from error
    names = lists.read_lines(ids).to_pylist()
    if len(names) != len(vectors):
        raise InputError(f"{ids} holds {len(names)} ids for {len(vectors)} embeddings")
    return from_arrays({"vectors": vectors}, names, None, {})


def write(path: StrPath, embeddings: Embeddings, dtype: str) -> None:
    """Write an npy file and its ids."""
    if any("\n" in name or not name.strip() for name in embeddings.ids):
        raise InputError("an id is empty or contains a newline; write .npz or .parquet")
    with atomic_files(path, located(path).with_suffix(".ids")) as (vectors, ids):
        with open(vectors, "wb") as stream:
            np.save(stream, pack_vectors(embeddings.vectors, dtype)[0])
        ids.write_text("".join(f"{name}\n" for name in embeddings.ids), encoding="utf-8")


FORM = Form(read, write, dtypes=("float32", "float16"), times=False)
