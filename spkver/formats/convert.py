"""Convert embeddings between file formats, which are recognised by file name.

| suffix       | contents                                                                | stored as              |
|--------------|-------------------------------------------------------------------------|------------------------|
| .parquet     | all                                                                     | float32, float16, int8 |
| .npz         | all                                                                     | float32, float16, int8 |
| .h5, .hdf5   | all (extra `hdf5`)                                                      | float32, float16, int8 |
| .jsonl       | all                                                                     | float32, float16, int8 |
| .safetensors | all                                                                     | float32, float16, int8 |
| .faiss       | all, as a nearest-neighbour index with NAME.jsonl (extra `faiss`)       | float32, float16, int8 |
| .npy         | vectors of utterances, with one id per line in NAME.ids                 | float32, float16       |
| .ark, .scp   | ids and vectors of utterances; an .scp refers to NAME.ark               | float32, text          |

All: ids, vectors, speakers, hash and front end of the model, and times of windows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.errors import InputError, nearest
from spkver.files import StrPath, file_place, refuse_stand_in
from spkver.formats import hdf5, jsonl, kaldi, neighbours, npy, npz, tensors
from spkver.formats.form import Form
from spkver.formats.means import means
from spkver.storage import located

FORMS = {
    ".parquet": Form(read_embeddings, write_embeddings),
    ".npz": npz.FORM,
    ".h5": hdf5.FORM,
    ".hdf5": hdf5.FORM,
    ".jsonl": jsonl.FORM,
    ".safetensors": tensors.FORM,
    ".faiss": neighbours.FORM,
    ".npy": npy.FORM,
    ".ark": kaldi.FORM,
    ".scp": kaldi.FORM,
}
_BLOCK = 1 << 14  # vectors compared at a time


@dataclass(frozen=True)
class Converted:
    """The embeddings, and the lowest cosine between original and stored embeddings; None for lossless formats."""

    embeddings: Embeddings
    cosine: float | None


def convert(
    source: StrPath, target: StrPath, *, text: bool = False, dtype: str = "float32", per: str | None = None
) -> Converted:
    """Read embeddings in one format and write them in another.

    text: write Kaldi's text form (.ark and .scp only); dtype: float32, float16 or int8
    per: average to one embedding per `speaker` or `utterance` (from windows): see `spkver.formats.means`
    Raises InputError if the source cannot be read or the target format cannot hold the embeddings.
    """
    form = _form(target)  # before the work
    dtype = _dtype(target, form, text, dtype)
    file_place(target, plain=True)
    embeddings = read(source, windows=True)
    if per is not None:
        embeddings = means(embeddings, per)
    _write(target, form, embeddings, dtype)
    lossy = dtype in ("float16", "int8") or not form.exact
    return Converted(embeddings, lowest_cosine(embeddings, read(target, windows=True)) if lossy else None)


def read(path: StrPath, *, windows: bool = False) -> Embeddings:
    """Read embeddings in the format given by the file name.

    windows: accept embeddings of windows, whose ids are not unique; otherwise they raise InputError
    """
    path = located(path)
    form = _form(path)
    with _named(path):
        try:
            embeddings = form.read(path)
        except InputError:
            refuse_stand_in(path)
            raise
    if embeddings.times is not None and not windows:
        raise InputError(
            f"{path}: embeddings of windows; average them per recording first with spkver convert --per utterance"
        )
    return embeddings


def write(path: StrPath, embeddings: Embeddings, *, text: bool = False, dtype: str = "float32") -> None:
    """Write embeddings in the format given by the file name."""
    form = _form(path)
    _write(path, form, embeddings, _dtype(path, form, text, dtype))


def lowest_cosine(embeddings: Embeddings, kept: Embeddings) -> float:
    """The lowest cosine between corresponding rows; rows of norm zero are ignored."""
    lowest = 1.0
    for start in range(0, len(embeddings), _BLOCK):
        one, other = (side.vectors[start : start + _BLOCK].astype(np.float64) for side in (embeddings, kept))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = np.einsum("ij,ij->i", one, other)[lengths > 0] / lengths[lengths > 0]
        lowest = min(lowest, float(cosines.min(initial=1.0)))
    return lowest


def _form(path: StrPath) -> Form:
    suffix = located(path).suffix
    if suffix not in FORMS:
        *most, last = FORMS
        raise InputError(f"{path}: unknown format; use a name ending in {', '.join(most)} or {last}")
    return FORMS[suffix]


def _dtype(path: StrPath, form: Form, text: bool, dtype: str) -> str:
    if text and kaldi.TEXT not in form.dtypes:
        raise InputError(f"{path}: only .ark and .scp have a text form")
    if text and dtype != "float32":
        raise InputError(f"{path}: Kaldi's text form is float32")
    if dtype not in form.dtypes:
        raise InputError(
            f"{path}: cannot hold {dtype}{nearest('', [name for name in form.dtypes if name != kaldi.TEXT])}"
        )
    return kaldi.TEXT if text else dtype


def _write(path: StrPath, form: Form, embeddings: Embeddings, dtype: str) -> None:
    if embeddings.times is not None and not form.times:
        holding = ", ".join(suffix for suffix, other in FORMS.items() if other.times)
        raise InputError(f"{path}: cannot hold windows: use {holding}, or --per utterance")
    with _named(path):
        form.write(path, embeddings, dtype)


@contextlib.contextmanager
def _named(path: StrPath) -> Iterator[None]:
    """Errors within name the file."""
    try:
        yield
    except InputError as error:
        if str(error).startswith((str(path), "this needs")):
            raise
        raise InputError(f"{path}: {error}") from error
