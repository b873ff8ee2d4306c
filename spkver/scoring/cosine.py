"""Cosine scores of a trial list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.trials import Trials

_BLOCK = 1 << 18  # numbers gathered at a time for each side: 1 MiB stays in the cache


def score(
    trials: Trials,
    embeddings: Embeddings,
    *,
    enrolment: Mapping[str, Sequence[str]] | None = None,
    mean: np.ndarray | None = None,
    test: Embeddings | None = None,
) -> np.ndarray:
    """The cosine between the two embeddings of every trial, float32 (trials,) in [-1, 1].

    enrolment: utterances of each enrolment model; the trials' enrolment ids are then models, and a model is the mean of
        its length-normalised embeddings
    mean: (dim,) subtracted from every embedding before its length is normalised
    test: embeddings of the test side, where they are not in `embeddings` (say, of the same recordings cut short)
    Raises InputError for embeddings of two models, an id without embedding, and an embedding of length zero.
    """
    other = embeddings if test is None else test
    _check_same_model(embeddings, other)
    enrol_ids: Sequence[str] = embeddings.ids
    enrol_vectors = _normalised(embeddings, mean)
    test_vectors = enrol_vectors if test is None else _normalised(test, mean)
    if enrolment is not None:
        enrol_ids = list(enrolment)
        enrol_vectors = _models(enrolment, embeddings.ids, enrol_vectors)
    what = "utterance" if enrolment is None else "model"
    enrol_rows = _rows(trials.enrol, enrol_ids, f"enrolment {what}s of the trials")
    test_rows = _rows(trials.test, other.ids, "test utterances of the trials")
    return _gathered_dots(enrol_vectors, enrol_rows, test_vectors, test_rows)


def mean_of(cohort: Embeddings, like: Embeddings) -> np.ndarray:
    """The mean (dim,) of a file's embeddings, to be subtracted from those of the same model."""
    _check_same_model(like, cohort)
    if not len(cohort):
        raise InputError("the mean of no embeddings: the file of the mean is empty")
    return cohort.vectors.mean(axis=0, dtype=np.float64)


def _check_same_model(one: Embeddings, other: Embeddings) -> None:
    if one.model != other.model:
        names = [f"'{side.model}'" if side.model else "unknown" for side in (one, other)]
        raise InputError(f"embeddings of two models cannot be compared: the models are {names[0]} and {names[1]}")
    if one.dim != other.dim:
        raise InputError(f"embeddings of two sizes cannot be compared: {one.dim} and {other.dim} values")


def _normalised(embeddings: Embeddings, mean: np.ndarray | None) -> np.ndarray:
    vectors = embeddings.vectors
    if mean is not None:
        if mean.shape != (embeddings.dim,):
            raise InputError(f"the mean has shape {mean.shape}, the embeddings have {embeddings.dim} values")
        vectors = vectors - mean.astype(np.float32)
    return _unit(vectors, embeddings.ids, "embedding" if mean is None else "centred embedding")


def _unit(vectors: np.ndarray, ids: Sequence[str], what: str) -> np.ndarray:
    # divided by the largest value first, so that no square overflows or vanishes in float32
    size = np.abs(vectors).max(axis=1, keepdims=True)
    if not size.all():
        raise InputError(f"the {what} of '{ids[int(np.argmin(size))]}' has length zero: it has no direction")
    scaled = vectors / size
    scaled /= np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    return scaled


def _models(enrolment: Mapping[str, Sequence[str]], ids: Sequence[str], vectors: np.ndarray) -> np.ndarray:
    """One vector of length 1 for each enrolment model."""
    sizes = np.array([len(utterances) for utterances in enrolment.values()], np.int64)
    if not sizes.all():
        raise InputError(f"the enrolment model '{list(enrolment)[int(np.argmin(sizes))]}' has no utterance")
    utterances = pa.array([utterance for group in enrolment.values() for utterance in group], pa.string())
    rows = _rows(utterances, ids, "utterances of the enrolment models")
    sums = np.add.reduceat(vectors[rows], np.cumsum(sizes) - sizes, axis=0)
    return _unit(sums, list(enrolment), "enrolment model")


def _rows(wanted: pa.Array, ids: Sequence[str], what: str) -> np.ndarray:
    """The row of each wanted id."""
    rows = pc.index_in(wanted, value_set=pa.array(ids, pa.string()))
    if rows.null_count:
        missing = wanted.filter(pc.is_null(rows)).unique()
        raise InputError(f"no embedding of '{missing[0]}': {len(missing)} {what} are not in the embeddings file")
    return rows.to_numpy()


def _gathered_dots(left: np.ndarray, left_rows: np.ndarray, right: np.ndarray, right_rows: np.ndarray) -> np.ndarray:
    """The dot product of the two rows of every pair, in blocks of bounded memory."""
    dots = np.empty(len(left_rows), np.float32)
    step = max(1, _BLOCK // left.shape[1])
    for start in range(0, len(dots), step):
        block = slice(start, start + step)
        np.einsum("ij,ij->i", left[left_rows[block]], right[right_rows[block]], out=dots[block])
    return dots.clip(-1, 1, out=dots)
