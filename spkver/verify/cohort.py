"""Adaptive S-norm of single trials, with the cohort stored in the model directory.

The same cosine means different things for different recordings: two noisy recordings are similar because of the noise.
Each side is compared with the cohort, and the cosine is normalised by the mean and standard deviation of the `top`
highest cohort cosines, as in `spkver normalise --top`. Does not need torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spkver.errors import InputError
from spkver.scoring.normalisation import normalised, top_statistics
from spkver.verify.lengths import Lengths


@dataclass(frozen=True)
class Cohort:
    """vectors: embeddings of other speakers, length 1, float32 (voices, dim); top: number of highest scores used."""

    vectors: np.ndarray
    top: int


@dataclass(frozen=True)
class Voices:
    """Embeddings of length 1, float32 (rows, dim).

    worth: mean and standard deviation of their highest cohort cosines, float64 (rows,) each; None without a cohort
    seconds: seconds of speech behind each row, float64 (rows,); None if unknown
    """

    vectors: np.ndarray
    worth: tuple[np.ndarray, np.ndarray] | None = None
    seconds: np.ndarray | None = None

    @classmethod
    def of(cls, vectors: np.ndarray, cohort: Cohort | None, seconds: np.ndarray | None = None) -> Voices:
        """One side of a comparison, with cohort statistics if a cohort is given."""
        if cohort is None:
            return cls(vectors, None, seconds)
        mean, deviation = top_statistics(vectors @ cohort.vectors.T, cohort.top)
        if not deviation.all():
            raise InputError("all cosines with the cohort are equal: use a larger cohort")
        return cls(vectors, (mean, deviation), seconds)


def cosines(one: Voices, other: Voices) -> np.ndarray:
    """Cosines of all rows of `one` with all rows of `other`, in [-1, 1]."""
    return (one.vectors @ other.vectors.T).clip(-1, 1)


def compare(one: Voices, other: Voices, lengths: Lengths | None = None) -> np.ndarray:
    """Scores of all rows of `one` with all rows of `other`: cosines, after S-norm if there is a cohort.

    lengths: the correction for seconds of speech, applied last
    """
    scores = cosines(one, other)
    if one.worth is not None and other.worth is not None:
        mean, deviation = one.worth
        scores = normalised(scores, [(mean[:, None], deviation[:, None]), other.worth])
    if lengths is None:
        return scores
    first, second = (np.nan if side.seconds is None else side.seconds for side in (one, other))
    return lengths.corrected(scores, np.atleast_1d(first)[:, None], second)


def compare_pairs(one: Voices, other: Voices) -> np.ndarray:
    """Scores of each row of `one` with the same row of `other` (rows,): the diagonal of `compare`."""
    scores = np.einsum("ij,ij->i", one.vectors, other.vectors).clip(-1, 1)
    return scores if one.worth is None or other.worth is None else normalised(scores, [one.worth, other.worth])
