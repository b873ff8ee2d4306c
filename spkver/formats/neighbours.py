"""A nearest-neighbour index (FAISS): the index file, and NAME.jsonl with the id of each row.

The index holds vectors of length 1 and searches by inner product, so what it finds is the nearest by cosine, without
approximation. NAME.jsonl is a header line `{"spkver": ...}` and one line per row, `{"id", "speaker", "length"}`;
lengths make the vectors what they were. float16 and int8 are FAISS's own (its int8 has a scale for each dimension).
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from spkver.embeddings import Embeddings, unit
from spkver.errors import InputError, load_optional
from spkver.files import StrPath, atomic_files
from spkver.formats import jsonl
from spkver.formats.form import Form, from_arrays, refuse_newer_form
from spkver.storage import located

_BLOCK = 1 << 14  # vectors at a time


def read(path: StrPath) -> Embeddings:
    """Read an index and the ids of its rows. Raises InputError if the index cannot reconstruct its vectors."""
    faiss = load_optional("faiss", "faiss")
    path = located(path)
    beside = path.with_name(f"{path.name}.jsonl")
    about: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for place, line in jsonl.lines(beside):
        if jsonl.HEADER in line and not rows and isinstance(line[jsonl.HEADER], dict):
            about = line[jsonl.HEADER]
            refuse_newer_form(beside, about)
            continue
        if not isinstance(line.get("id"), str):
            raise InputError(f'{place}: expected {{"id": ..., "length": ...}}')
        rows.append(line)
    if not path.is_file():
        raise InputError("no such file")
    try:
        index = faiss.read_index(os.fspath(path))
        if index.ntotal != len(rows):
            raise InputError(f"{beside} names {len(rows)} vectors, the index has {index.ntotal}")
        vectors = index.reconstruct_n(0, index.ntotal)
        lengths = np.array([line.get("length", 1.0) for line in rows], np.float32)
        times = {"times": np.array([[line["start"], line["end"]] for line in rows])} if "start" in rows[0] else {}
    except InputError:
        raise
    except (RuntimeError, MemoryError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise InputError(f"not an index of embeddings ({' '.join(str(error).split())[:200]})") from error
    with np.errstate(over="ignore", invalid="ignore"):
        vectors = vectors * lengths[:, None]
    speakers = [str(line.get("speaker") or "") for line in rows]
    return from_arrays(
        {"vectors": vectors, **times}, [line["id"] for line in rows], speakers if any(speakers) else None, about
    )


def write(path: StrPath, embeddings: Embeddings, dtype: str) -> None:
    """Write an index and the ids of its rows. Raises InputError for a vector of norm zero."""
    faiss = load_optional("faiss", "faiss")
    if not len(embeddings):
        raise InputError("there are no embeddings to index")
    units = unit(embeddings.vectors, embeddings.ids, "embedding")
    index = _empty(faiss, embeddings.dim, dtype)
    index.train(units)
    for start in range(0, len(units), _BLOCK):
        index.add(units[start : start + _BLOCK])
    lengths = np.linalg.norm(embeddings.vectors.astype(np.float64), axis=1)
    with atomic_files(path, f"{path}.jsonl") as (vectors, whose):
        faiss.write_index(index, str(vectors))
        with whose.open("w", encoding="utf-8") as stream:
            about = {"model": embeddings.model, "front_end": embeddings.front_end}
            stream.write(json.dumps({jsonl.HEADER: about}) + "\n")
            for row, name in enumerate(embeddings.ids):
                line: dict[str, Any] = {"id": name, "length": float(lengths[row])}
                if embeddings.speakers is not None:
                    line["speaker"] = embeddings.speakers[row]
                if embeddings.times is not None:
                    line |= dict(zip(("start", "end"), embeddings.times[row].tolist()))
                stream.write(json.dumps(line) + "\n")


def _empty(faiss: Any, dim: int, dtype: str) -> Any:
    if dtype == "float32":
        return faiss.IndexFlatIP(dim)
    kinds = {"float16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}
    return faiss.IndexScalarQuantizer(dim, kinds[dtype], faiss.METRIC_INNER_PRODUCT)


FORM = Form(read, write, exact=False)
