"""Cluster recordings by voice, to train without labels on the clusters as speakers. Does not need torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from spkver.embeddings import Embeddings, unit
from spkver.errors import InputError, load_optional
from spkver.files import StrPath, write_text

DIRECTLY = 5000
"""More recordings than this are first grouped by k-means, because linkage needs the distances of all pairs."""


def cluster(embeddings: Embeddings, number: int, *, seed: int = 1) -> np.ndarray:
    """Group embeddings by average linkage of their cosines: int64 (N,), numbered in order of first occurrence.

    More than `DIRECTLY` are first grouped around as many centroids by spherical k-means (needs faiss), whose centroids
    are then linked. Raises InputError for fewer embeddings than groups.
    """
    from scipy.cluster import hierarchy  # takes a while to load

    if not 1 <= number <= len(embeddings):
        raise InputError(f"{len(embeddings)} embeddings cannot be grouped into {number} speakers")
    vectors = unit(embeddings.vectors, embeddings.ids, "embedding")
    nearest = np.arange(len(vectors))
    if len(vectors) > DIRECTLY:
        vectors, nearest = _centroids(vectors, min(len(vectors), max(DIRECTLY, 2 * number)), seed)
    if len(vectors) == 1:
        return np.zeros(len(embeddings), np.int64)
    tree = hierarchy.linkage(vectors, "average", metric="cosine")
    groups = hierarchy.cut_tree(tree, number)[:, 0][nearest]
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group]


def _centroids(vectors: np.ndarray, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Centroids (at most `number`, dim) and the row of the nearest one for each vector."""
    faiss = load_optional("faiss", "faiss")
    means = faiss.Kmeans(vectors.shape[1], number, spherical=True, seed=seed, min_points_per_centroid=1, niter=20)
    means.train(vectors)
    used, nearest = np.unique(means.index.search(vectors, 1)[1][:, 0], return_inverse=True)
    return means.centroids[used], nearest


class Agreement(NamedTuple):
    """The agreement of groups with speakers, over pairs of recordings."""

    precision: float
    """share of the pairs within a group that are one speaker's"""
    recall: float
    """share of the pairs of one speaker that are within a group"""


def agreement(groups: np.ndarray, speakers: list[str]) -> Agreement:
    """Compare groups (N,) with speakers."""
    speaker = pa.array(speakers).dictionary_encode().indices.to_numpy()
    both = np.unique(np.stack([groups, speaker]), axis=1, return_counts=True)[1]
    together = _pairs(both)
    return Agreement(
        together / max(1, _pairs(np.unique(groups, return_counts=True)[1])),
        together / max(1, _pairs(np.unique(speaker, return_counts=True)[1])),
    )


def _pairs(counts: np.ndarray) -> int:
    return int((counts * (counts - 1) // 2).sum())


def write_groups(path: StrPath, ids: list[str], groups: np.ndarray) -> None:
    """Write lines of `utterance speaker` as in utt2spk; speakers are called g0, g1, ..., with leading zeros."""
    width = len(str(groups.max()))
    write_text(path, "".join(f"{one} g{group:0{width}}\n" for one, group in zip(ids, groups.tolist())))
