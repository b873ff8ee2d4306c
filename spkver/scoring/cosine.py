"""Cosine scoring."""

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
    """The cosine of the two embeddings of every trial, float32 (trials,) in [-1, 1].

    Arguments and errors are those of `sides`. Raises InputError for an id without an embedding as well.
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
    """Prepare embeddings for cosine scoring.

    enrolment: the utterances of each enrolment model. Enrolment ids of trials are then names of models, and a model is
        the mean of the length-normalised embeddings of its utterances.
    mean: (dim,) subtracted from every embedding before length normalisation
    test: embeddings of the test side; by default, those of both sides are in `embeddings`
    device: device for the products, see `Sides`
    Raises InputError for embeddings of different models, and for an embedding of norm zero.
    """
    check_same_model(embeddings, embeddings if test is None else test)
    own = _normalised(embeddings, mean, "enrolment utterances of the trials")
    other = own if test is None else _normalised(test, mean, "test utterances of the trials")
    enrol = own if enrolment is None else _models(enrolment, own)
    return Sides(enrol, Side(other.ids, other.vectors, what="test utterances of the trials"), bound=1, device=device)


def mean_of(cohort: Embeddings, like: Embeddings) -> np.ndarray:
    """The mean (dim,) of embeddings. Raises InputError if there are none, or if `like` is of another model."""
    check_same_model(like, cohort)
    if not len(cohort):
        raise InputError("the file of the mean has no embeddings")
    return cohort.vectors.mean(axis=0, dtype=np.float64)


def check_same_model(one: Embeddings, other: Embeddings) -> None:
    """Raises InputError if two sets of embeddings are of different models or of different sizes."""
    if one.model != other.model:
        names = [f"'{side.model}'" if side.model else "unknown" for side in (one, other)]
        raise InputError(f"embeddings of different models cannot be compared: the models are {names[0]} and {names[1]}")
    if one.dim != other.dim:
        raise InputError(f"embeddings of different sizes cannot be compared: {one.dim} and {other.dim} values")


def _normalised(embeddings: Embeddings, mean: np.ndarray | None, what: str) -> Side:
    if mean is not None and mean.shape != (embeddings.dim,):
        raise InputError(f"the mean has shape {mean.shape}, the embeddings have {embeddings.dim} values")
    kind = "embedding" if mean is None else "centred embedding"
    vectors = unit(embeddings.vectors, embeddings.ids, kind, None if mean is None else mean.astype(np.float32))
    return Side(pa.array(embeddings.ids, pa.string()), vectors, what=what)


def _models(enrolment: Mapping[str, Sequence[str]], utterances: Side) -> Side:
    """The enrolment models, each a vector of length 1."""
    rows, starts = model_rows(enrolment, utterances)
    sums = np.add.reduceat(utterances.vectors[rows], starts, axis=0)
    ids = pa.array(list(enrolment), pa.string())
    return Side(ids, unit(sums, ids, "enrolment model"), what="enrolment models of the trials")


def model_rows(enrolment: Mapping[str, Sequence[str]], utterances: Side) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the utterances of all enrolment models, model by model, and the index of the first of each model."""
    sizes = np.array([len(group) for group in enrolment.values()], np.int64)
    if not sizes.all():
        raise InputError(f"the enrolment model '{list(enrolment)[int(np.argmin(sizes))]}' has no utterance")
    named = pa.array([utterance for group in enrolment.values() for utterance in group], pa.string())
    side = Side(utterances.ids, utterances.vectors, what="utterances of the enrolment models")
    return side.rows(named.dictionary_encode()), np.cumsum(sizes) - sizes
