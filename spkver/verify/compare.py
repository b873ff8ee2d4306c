"""Do two recordings hold the same speaker?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.files import StrPath


@dataclass(frozen=True)
class Verdict:
    """score: cosine, -1 to 1; same: whether it reaches the threshold, None where no threshold was given."""

    score: float
    same: bool | None


def verify(encoder: Encoder, first: StrPath, second: StrPath, threshold: float | None = None) -> Verdict:
    """Cosine of the embeddings of two recordings, and the decision at a threshold (accepted at score >= threshold)."""
    score = cosine(encoder.embed(first), encoder.embed(second))
    return Verdict(score, None if threshold is None else score >= threshold)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of two embeddings (dim,). Raises InputError for an embedding that is zero."""
    lengths = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    if not lengths > 0:
        raise InputError("an embedding is zero: it has no direction to compare")
    return float(np.dot(first.astype(np.float64), second.astype(np.float64)) / lengths)
