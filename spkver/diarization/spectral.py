"""Spectral clustering, with the number of speakers from the largest gap between eigenvalues."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.cluster.vq import kmeans2
from scipy.linalg import LinAlgError, eigh

from spkver.diarization.agglomerative import condensed, refined
from spkver.diarization.clustering import Clustering, ClusteringConfig, Number, centroids, renumbered, to_nearest
from spkver.diarization.windows import Windows

STARTS = 10  # of k-means, of which the best is kept
LEAST_NEIGHBOURS = 10  # with fewer, the graph of a short recording falls into more parts than there are speakers


class SpectralConfig(ClusteringConfig):
    """Clusters the first eigenvectors of the graph of the nearest windows; needs no threshold.

    von Luxburg, "A tutorial on spectral clustering", 2007: normalised by the random walk; the number of speakers is
    the one after which the eigenvalues of the Laplacian rise most.
    """

    name: Literal["spectral"] = "spectral"
    neighbours: float = Field(
        0.02, gt=0, le=1, description="share of the windows, at least 10, that each window is joined with"
    )
    most: int = Field(40, ge=1, description="largest number of speakers that is found")


class Spectral(Clustering):
    """Clusters by the eigenvectors of the graph of nearest neighbours."""

    Config = SpectralConfig

    def __init__(self, config: SpectralConfig) -> None:
        self.config = config

    def __call__(self, windows: Windows, shift: float, number: Number) -> np.ndarray:
        """See `Clustering`."""
        vectors = windows.vectors
        groups = condensed(vectors)
        points = centroids(vectors, groups)
        if number.least >= len(points):  # each is a speaker of its own
            return refined(vectors, groups)
        most = min(len(points) - 1, max(self.config.most if number.most is None else number.most, number.least))
        if most < 2:
            return np.zeros(len(vectors), np.int64)
        values, axes = _spectrum(points, self.config.neighbours, most)
        found = int(np.diff(values)[number.least - 1 :].argmax()) + number.least
        labels = _kmeans(axes[:, :found])[groups]
        sizes = np.bincount(labels)
        kept = sizes >= self.config.least(len(windows), shift)
        kept[np.argsort(-sizes, kind="stable")[: number.least]] = True
        return refined(vectors, to_nearest(vectors, labels, kept))


def _spectrum(points: np.ndarray, neighbours: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The `most` + 1 lowest eigenvalues of the normalised Laplacian, and their vectors (points, most + 1)."""
    similarity = np.maximum(points @ points.T, 0).astype(np.float64)
    joined = min(len(points), max(LEAST_NEIGHBOURS, round(neighbours * len(points))))
    least = np.partition(similarity, -joined, axis=1)[:, -joined, None]
    graph = np.where(similarity >= least, similarity, 0)
    graph = (graph + graph.T) / 2
    root = 1 / np.sqrt(graph.sum(axis=1))
    laplacian = np.eye(len(points)) - root[:, None] * graph * root
    try:
        values, vectors = eigh(laplacian, subset_by_index=(0, most))
    except LinAlgError:  # LAPACK's choice of some eigenvalues fails for some graphs of many parts
        values, vectors = (found[..., : most + 1] for found in eigh(laplacian, driver="evd"))
    return values, vectors * root[:, None]


def _kmeans(points: np.ndarray) -> np.ndarray:
    """The best of some runs of k-means, into as many clusters as there are columns."""
    best, labels = np.inf, np.zeros(len(points), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty clusters: a run with one is seldom the best
        for seed in range(STARTS):
            centres, found = kmeans2(points, points.shape[1], minit="++", seed=seed, missing="warn")
            error = float(np.square(points - centres[found]).sum())
            if error < best:
                best, labels = error, found
    return renumbered(labels)
