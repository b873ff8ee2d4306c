"""Cosine scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from spkver.embeddings import Embeddings, unit
from spkver.errors import InputError
from spkver.scoring.sides import Side, Sides
from spkver.trials import Trials


def score(
    trials: Trials,
    embeddings: Embeddings,
    *,
    enrolment: Mapping[str, Sequence[str]] | None = None,
    mean: np.ndarray | None = None,
    test: Embeddings | None = None,
) -> np.ndarray:
    """The cosine between the two embeddings of every trial, float32 (trials,) in [-1, 1].

    Arguments and errors are those of `sides`; an id without embedding is an InputError, too.
    """
    return sides(embeddings, enrolment=enrolment, mean=mean, test=test).score(trials)


def sides(
    embeddings: Embeddings,
    *,
    enrolment: Mapping[str, Sequence[str]] | None = None,
    mean: np.ndarray | None = None,
    test: Embeddings | None = None,
    device: str = "cpu",
) -> Sides:
    """Embeddings made ready for cosine scores.

    enrolment: utterances of each enrolment model; the trials' enrolment ids are then models, and a model is the mean of
        its length-normalised embeddings
    mean: (dim,) subtracted from every embedding before its length is normalised
    test: embeddings of the test side, where they are not in `embeddings` (say, of the same recordings cut short)
    device: where the products are made, see `Sides`
    Raises InputError for embeddings of two models, and an embedding of length zero.
    """
    check_same_model(embeddings, embeddings if test is None else test)
    own = _normalised(embeddings, mean, "enrolment utterances of the trials")
    other = own if test is None else _normalised(test, mean, "test utterances of the trials")
    enrol = own if enrolment is None else _models(enrolment, own)
    return Sides(enrol, Side(other.ids, other.vectors, what="test utterances of the trials"), bound=1, device=device)


def mean_of(cohort: Embeddings, like: Embeddings) -> np.ndarray:
    """The mean (dim,) of a file's embeddings, to be subtracted from those of the same model."""
    check_same_model(like, cohort)
    if not len(cohort):
        raise InputError("the mean of no embeddings: the file of the mean is empty")
    return cohort.vectors.mean(axis=0, dtype=np.float64)


def check_same_model(one: Embeddings, other: Embeddings) -> None:
    """Raises InputError for embeddings that two models made, or that differ in size."""
    if one.model != other.model:
        names = [f"'{side.model}'" if side.model else "unknown" for side in (one, other)]
        raise InputError(f"embeddings of two models cannot be compared: the models are {names[0]} and {names[1]}")
    if one.dim != other.dim:
        raise InputError(f"embeddings of two sizes cannot be compared: {one.dim} and {other.dim} values")


def _normalised(embeddings: Embeddings, mean: np.ndarray | None, what: str) -> Side:
    if mean is not None and mean.shape != (embeddings.dim,):
        raise InputError(f"the mean has shape {mean.shape}, the embeddings have {embeddings.dim} values")
    kind = "embedding" if mean is None else "centred embedding"
    vectors = unit(embeddings.vectors, embeddings.ids, kind, None if mean is None else mean.astype(np.float32))
    return Side(pa.array(embeddings.ids, pa.string()), vectors, what=what)


def _models(enrolment: Mapping[str, Sequence[str]], utterances: Side) -> Side:
    """One vector of length 1 for each enrolment model."""
    rows, starts = model_rows(enrolment, utterances)
    sums = np.add.reduceat(utterances.vectors[rows], starts, axis=0)
    ids = pa.array(list(enrolment), pa.string())
    return Side(ids, unit(sums, ids, "enrolment model"), what="enrolment models of the trials")


def model_rows(enrolment: Mapping[str, Sequence[str]], utterances: Side) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the utterances of all enrolment models, one model after the other, and where each model starts."""
    sizes = np.array([len(group) for group in enrolment.values()], np.int64)
    if not sizes.all():
        raise InputError(f"the enrolment model '{list(enrolment)[int(np.argmin(sizes))]}' has no utterance")
    named = pa.array([utterance for group in enrolment.values() for utterance in group], pa.string())
    side = Side(utterances.ids, utterances.vectors, what="utterances of the enrolment models")
    return side.rows(named.dictionary_encode()), np.cumsum(sizes) - sizes
