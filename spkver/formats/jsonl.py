"""JSON lines: `{"id": ..., "speaker": ..., "embedding": [...]}`; windows have `start` and `end`, int8 has `scale`.

The first line `{"spkver": {"model": ..., "front_end": {...}, "dtype": ...}}` has the model and the storage type. Files
of other toolkits do not have it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.files import StrPath, atomic_file, json_object
from spkver.formats.form import Form, from_arrays, refuse_newer_form, to_arrays
from spkver.text import numbered

HEADER = "spkver"


def read(path: StrPath) -> Embeddings:
    """Read a file of JSON lines, one at a time."""
    about: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "speaker", "start", "end", "scale")}
    vectors: list[np.ndarray] = []
    for place, line in lines(path):
        if HEADER in line and not vectors and isinstance(line[HEADER], dict):
            about = line[HEADER]
            refuse_newer_form(path, about)
            continue
        try:
            vector = np.array(line["embedding"], np.float64)
            if not isinstance(line["id"], str) or vector.ndim != 1:
                raise ValueError("the id is a text, the embedding a list of numbers")
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise InputError(f'{place}: expected {{"id": ..., "embedding": [...]}} ({error})') from error
        if vectors and len(vector) != len(vectors[0]):
            raise InputError(f"{place}: the embedding has {len(vector)} values, the first has {len(vectors[0])}")
        with np.errstate(over="ignore"):
            vectors.append(vector.astype(np.float32))
        for name, values in columns.items():
            values.append(line.get(name))
    if not vectors:
        raise InputError("no embeddings in it")
    # five digits are a float16's, not those of the float32 that is nearest to them
    dtype = np.float16 if about.get("dtype") == "float16" else np.float32
    with np.errstate(over="ignore"):
        arrays = {"vectors": np.array(vectors).astype(dtype, copy=False)}
    try:
        if any(scale is not None for scale in columns["scale"]):
            arrays["scales"] = np.array(columns["scale"], np.float32)
        if any(start is not None for start in columns["start"]):
            arrays["times"] = np.array([columns["start"], columns["end"]], np.float64).T
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"a line has no number as its scale, start or end, and others have ({error})") from error
    known = any(columns["speaker"])
    speakers = ["" if speaker is None else str(speaker) for speaker in columns["speaker"]] if known else None
    return from_arrays(arrays, columns["id"], speakers, about)


def lines(path: StrPath) -> Iterator[tuple[str, dict[str, Any]]]:
    """`file:line` and the object of every non-empty line. Raises InputError for invalid JSON."""
    try:
        with open(path, "rb") as stream:
            for place, line in numbered(stream, path):
                yield place, json_object(line, place)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def write(path: StrPath, embeddings: Embeddings, dtype: str) -> None:
    """Write JSON lines, numbers with as many digits as their type needs."""
    arrays = to_arrays(embeddings, dtype)
    digits = {"float32": ".9g", "float16": ".5g", "int8": "d"}[dtype]
    with atomic_file(path) as part, Path(part).open("w", encoding="utf-8") as stream:
        about = {"model": embeddings.model, "front_end": embeddings.front_end, "dtype": dtype}
        stream.write(json.dumps({HEADER: about}) + "\n")
        for row, name in enumerate(embeddings.ids):
            line: dict[str, Any] = {"id": name}
            if embeddings.speakers is not None:
                line["speaker"] = embeddings.speakers[row]
            if "times" in arrays:
                line |= dict(zip(("start", "end"), arrays["times"][row].tolist()))
            if "scales" in arrays:
                line["scale"] = float(arrays["scales"][row])
            values = ", ".join(format(value, digits) for value in arrays["vectors"][row].tolist())
            stream.write(f'{json.dumps(line)[:-1]}, "embedding": [{values}]}}\n')


FORM = Form(read, write)
