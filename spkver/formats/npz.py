"""NumPy's npz: arrays `ids`, `vectors`, `speakers` (where known), `model`, `front_end` (JSON), `scales`, `times`."""

from __future__ import annotations

from typing import IO, Any

import numpy as np

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.files import StrPath, atomic_file
from spkver.formats.form import NUMPY_ERRORS, Form, about_model, from_arrays, refuse_newer_form, to_arrays


def read(path: StrPath | IO[bytes]) -> Embeddings:
    """Read an npz file; ids and vectors are enough."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = {name: str(arrays[name]) for name in ("model", "front_end", "format") if name in arrays}
            refuse_newer_form(path, about)
            speakers = arrays["speakers"].astype(str).tolist() if "speakers" in arrays else None
            numbers = {name: arrays[name] for name in ("vectors", "scales", "times") if name in arrays}
            if "vectors" not in numbers:
                raise KeyError("'vectors' is not in it")
            return from_arrays(numbers, arrays["ids"].astype(str).ravel().tolist(), speakers, about)
    except KeyError as error:
        raise InputError(f"{error.args[0]}: it needs the arrays 'ids' and 'vectors'") from error
    except NUMPY_ERRORS as error:
        raise InputError(f"not an npz file of embeddings ({error})") from error


def write(path: StrPath, embeddings: Embeddings, dtype: str) -> None:
    """Write an npz file."""
    with atomic_file(path) as part, open(part, "wb") as stream:
        dump(stream, embeddings, dtype)


def dump(stream: IO[bytes], embeddings: Embeddings, dtype: str) -> None:
    """Write the content of an npz file to an open file."""
    arrays: dict[str, Any] = to_arrays(embeddings, dtype)
    arrays["ids"] = np.array(embeddings.ids, np.str_)
    arrays |= {name: np.array(text) for name, text in about_model(embeddings).items()}
    if embeddings.speakers is not None:
        arrays["speakers"] = np.array(embeddings.speakers, np.str_)
    np.savez(stream, **arrays)


FORM = Form(read, write)
