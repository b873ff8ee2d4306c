"""What all clusterings of windows have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from pydantic import Field

from spkver.config import Component
from spkver.diarization.windows import Windows

LEAST_SHARE, LEAST_SECONDS = 0.1, 2.0  # of speech, that a speaker of a short recording needs


class Number(NamedTuple):
    """The minimum and maximum number of speakers."""

    least: int = 1
    most: int | None = None

    def clipped(self, number: int) -> int:
        """The nearest number within the bounds."""
        return max(number if self.most is None else min(number, self.most), self.least)


class ClusteringConfig(Component):
    """Base class of the configs of clusterings."""

    least_seconds: float = Field(
        0.0,
        ge=0,
        description="a cluster with less speech is no speaker of its own; in short recordings the limit is a tenth of "
        "the speech, but at least 2 s",
    )

    def least(self, windows: int, shift: float) -> float:
        """The number of windows that a speaker needs. shift: seconds of speech that a window stands for."""
        return min(self.least_seconds / shift, max(LEAST_SECONDS / shift, LEAST_SHARE * windows))


class Clustering(ABC):
    """Base class of clusterings: `Clustering(config)`."""

    @abstractmethod
    def __call__(self, windows: Windows, shift: float, number: Number) -> np.ndarray:
        """The speaker of each window, int64 (windows,), counted from 0 without gaps.

        shift: seconds of speech that a window stands for
        """


def renumbered(labels: np.ndarray) -> np.ndarray:
    """The same labels, counted from 0 without gaps."""
    found: np.ndarray = np.unique(labels, return_inverse=True)[1].reshape(-1)
    return found


def centroids(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean of the vectors of each label, scaled to length 1, (labels, dim); a mean of zero stays zero."""
    sums = np.zeros((int(labels.max(initial=-1)) + 1, vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.where(norms > 0, norms, 1)).astype(np.float32)


def to_nearest(vectors: np.ndarray, labels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Renumbered labels: vectors whose label is not `kept`, bool (labels,), get the nearest label that is."""
    if kept.all():
        return labels
    near = vectors @ centroids(vectors, labels)[kept].T
    return renumbered(np.where(kept[labels], labels, np.flatnonzero(kept)[near.argmax(axis=1)]))
