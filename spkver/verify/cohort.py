"""Other voices that a model's verdicts are normalised by: adaptive S-norm, trial by trial.

A cosine of 0.5 says more between two telephone calls than between two studio recordings. Each side is compared with a
cohort, kept with the model, and its `top` highest cosines there tell what a cosine of that side is worth, as `spkver
normalise --top` does for lists. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spkver.errors import InputError
from spkver.scoring.normalisation import top_statistics


@dataclass(frozen=True)
class Cohort:
    """vectors: embeddings of other speakers at length 1, float32 (voices, dim); top: how many of them count."""

    vectors: np.ndarray
    top: int


@dataclass(frozen=True)
class Voices:
    """Embeddings at length 1, float32 (rows, dim), and what their cosines with a cohort are like, float64 (rows,)."""

    vectors: np.ndarray
    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None

    @classmethod
    def of(cls, vectors: np.ndarray, cohort: Cohort | None) -> Voices:
        """One side of comparisons, by a cohort where there is one."""
        if cohort is None:
            return cls(vectors)
        mean, deviation = top_statistics(vectors @ cohort.vectors.T, cohort.top)
        if not deviation.all():
            raise InputError("all cosines with the cohort are equal: too small a cohort to normalise by")
        return cls(vectors, mean, deviation)


def cosines(one: Voices, other: Voices) -> np.ndarray:
    """Of all rows of one with all of the other, in [-1, 1]."""
    return (one.vectors @ other.vectors.T).clip(-1, 1)


def compare(one: Voices, other: Voices) -> np.ndarray:
    """The scores of all rows of one with all of the other: S-norm of the cosines, or without a cohort the cosines."""
    scores = cosines(one, other)
    if one.mean is None or other.mean is None or one.deviation is None or other.deviation is None:
        return scores
    by_one = (scores - one.mean[:, None]) / one.deviation[:, None]
    by_other = (scores - other.mean) / other.deviation
    return (by_one + by_other) / 2
