"""safetensors: tensors `vectors`, `scales`, `times`, and `ids` and `speakers` as the bytes of a JSON list; metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.files import StrPath, atomic_file
from spkver.formats.form import Form, about_model, from_arrays, refuse_newer_form, to_arrays


def read(path: StrPath) -> Embeddings:
    """Read a safetensors file."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            refuse_newer_form(path, about)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a mapping
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"not a safetensors file of embeddings ({error})") from error
    if "ids" not in arrays:
        raise InputError("no tensor 'ids'")
    speakers = _texts(arrays, "speakers") if "speakers" in arrays else None
    return from_arrays(arrays, _texts(arrays, "ids"), speakers, about)


def write(path: StrPath, embeddings: Embeddings, dtype: str) -> None:
    """Write a safetensors file."""
    arrays = to_arrays(embeddings, dtype) | {"ids": _bytes(embeddings.ids)}
    if embeddings.speakers is not None:
        arrays["speakers"] = _bytes(embeddings.speakers)
    with atomic_file(path) as part:
        safetensors.numpy.save_file(arrays, part, metadata=about_model(embeddings))


def _bytes(texts: Sequence[str]) -> np.ndarray:
    return np.frombuffer(json.dumps(list(texts)).encode(), np.uint8).copy()


def _texts(arrays: dict[str, Any], name: str) -> list[str]:
    try:
        texts = json.loads(arrays[name].astype(np.uint8).tobytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"its {name} are not JSON ({error})") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"its {name} are not a list of texts")
    return texts


FORM = Form(read, write)
