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


@dataclass(frozen=True)
class Cohort:
    """vectors: embeddings of other speakers, length 1, float32 (voices, dim); top: number of highest scores used."""

    vectors: np.ndarray
    top: int


@dataclass(frozen=True)
class Voices:
    """Embeddings of length 1, float32 (rows, dim).

    worth: mean and standard deviation of their highest cohort cosines, float64 (rows,) each; None without a cohort
    """

    vectors: np.ndarray
    worth: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, vectors: np.ndarray, cohort: Cohort | None) -> Voices:
        """One side of a comparison, with cohort statistics if a cohort is given."""
        if cohort is None:
            return cls(vectors)
        mean, deviation = top_statistics(vectors @ cohort.vectors.T, cohort.top)
        if not deviation.all():
            raise InputError("all cosines with the cohort are equal: use a larger cohort")
        return cls(vectors, (mean, deviation))


def cosines(one: Voices, other: Voices) -> np.ndarray:
    """Cosines of all rows of `one` with all rows of `other`, in [-1, 1]."""
    return (one.vectors @ other.vectors.T).clip(-1, 1)


def compare(one: Voices, other: Voices) -> np.ndarray:
    """Scores of all rows of `one` with all rows of `other`: cosines, after S-norm if there is a cohort."""
    scores = cosines(one, other)
    if one.worth is None or other.worth is None:
        return scores
    mean, deviation = one.worth
    return normalised(scores, [(mean[:, None], deviation[:, None]), other.worth])


def compare_pairs(one: Voices, other: Voices) -> np.ndarray:
    """Scores of each row of `one` with the same row of `other` (rows,): the diagonal of `compare`."""
    scores = np.einsum("ij,ij->i", one.vectors, other.vectors).clip(-1, 1)
    return scores if one.worth is None or other.worth is None else normalised(scores, [one.worth, other.worth])
