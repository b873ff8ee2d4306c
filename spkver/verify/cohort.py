"""Other voices that a model's verdicts are normalised by: adaptive S-norm, trial by trial.

What a cosine of 0.5 is worth depends on the recordings: two noisy ones are alike by their noise. Each side is compared
with a cohort, kept with the model, and its `top` highest cosines there tell what a cosine of that side is worth, as
`spkver normalise --top` does for lists. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spkver.errors import InputError
from spkver.scoring.normalisation import normalised, top_statistics


@dataclass(frozen=True)
class Cohort:
    """vectors: embeddings of other speakers at length 1, float32 (voices, dim); top: how many of them count."""

    vectors: np.ndarray
    top: int


@dataclass(frozen=True)
class Voices:
    """Embeddings at length 1, float32 (rows, dim); worth: mean and deviation of their highest cosines with a cohort,
    float64 (rows,) each, where there is one."""

    vectors: np.ndarray
    worth: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, vectors: np.ndarray, cohort: Cohort | None) -> Voices:
        """One side of comparisons, by a cohort where there is one."""
        if cohort is None:
            return cls(vectors)
        mean, deviation = top_statistics(vectors @ cohort.vectors.T, cohort.top)
        if not deviation.all():
            raise InputError("all cosines with the cohort are equal: too small a cohort to normalise by")
        return cls(vectors, (mean, deviation))


def cosines(one: Voices, other: Voices) -> np.ndarray:
    """Of all rows of one with all of the other, in [-1, 1]."""
    return (one.vectors @ other.vectors.T).clip(-1, 1)


def compare(one: Voices, other: Voices) -> np.ndarray:
    """The scores of all rows of one with all of the other: S-norm of the cosines, or without a cohort the cosines."""
    scores = cosines(one, other)
    if one.worth is None or other.worth is None:
        return scores
    mean, deviation = one.worth
    return normalised(scores, [(mean[:, None], deviation[:, None]), other.worth])


def compare_pairs(one: Voices, other: Voices) -> np.ndarray:
    """The scores of the rows of one with those of the other, row by row (rows,), as `compare` has them."""
    scores = np.einsum("ij,ij->i", one.vectors, other.vectors).clip(-1, 1)
    return scores if one.worth is None or other.worth is None else normalised(scores, [one.worth, other.worth])
