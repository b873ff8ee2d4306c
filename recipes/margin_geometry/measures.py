"""Angles between embeddings: the spread within classes, and the distance between them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spkver.metrics import eer


class Spread(NamedTuple):
    """Angles in degrees. The centre of a class is the mean direction of its points."""

    within_mean: float
    """angle to the own centre, mean over all points"""
    within_p95: float
    """95th percentile of the angle to the own centre"""
    within_max: float
    between_min: float
    """angle between the two closest centres"""


def directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., dim) scaled to length 1 in float64; zero vectors are unchanged."""
    wide = np.float64(vectors)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide / np.where(length == 0, 1, length)


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles in degrees between directions a and b, over the last dimension; also accurate for small angles."""
    return np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))


def centres(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean direction of each class (C, dim)."""
    units = directions(embeddings)
    return directions(np.stack([units[labels == label].mean(axis=0) for label in range(labels.max() + 1)]))


def spread(embeddings: np.ndarray, labels: np.ndarray) -> Spread:
    """The angular spread of labelled embeddings (N, dim)."""
    middle = centres(embeddings, labels)
    own = angles(directions(embeddings), middle[labels])
    one, other = np.triu_indices(len(middle), k=1)
    return Spread(
        within_mean=float(own.mean()),
        within_p95=float(np.quantile(own, 0.95)),
        within_max=float(own.max()),
        between_min=float(angles(middle[one], middle[other]).min()),
    )


def confusion(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Counts (C, C); rows: true class, columns: predicted class."""
    number = int(max(labels.max(), predicted.max())) + 1
    return np.bincount(labels * number + predicted, minlength=number**2).reshape(number, number)


def pair_eer(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """The equal error rate over all pairs of points, scored by cosine."""
    units = directions(embeddings)
    one, other = np.triu_indices(len(units), k=1)
    return eer((units @ units.T)[one, other], labels[one] == labels[other])
