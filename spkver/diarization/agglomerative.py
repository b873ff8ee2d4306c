"""Agglomerative clustering with average linkage."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from spkver.diarization.clustering import Clustering, ClusteringConfig, Number, centroids, renumbered, to_nearest
from spkver.diarization.windows import Windows

MOST = 4000  # points whose similarities are held at once
BLOCK, KEPT = 2000, 200  # of more windows, each block is first reduced to some clusters
APART = np.float32(-1e9)  # similarity of points that never share a cluster
REFINEMENTS = 2  # passes that give each window to its nearest centroid


class AgglomerativeConfig(ClusteringConfig):
    """Merges the two clusters with the largest mean cosine while it is at or above the threshold."""

    name: Literal["agglomerative"] = "agglomerative"
    threshold: float = Field(ge=-1, le=1, description="least mean cosine of two clusters that are merged")


class Tree(NamedTuple):
    """The merges of points, one per row, in descending order of similarity.

    pairs: a point of each of the two clusters, int64 (points - 1, 2); similarity: of the clusters, (points - 1,)
    """

    pairs: np.ndarray
    similarity: np.ndarray

    def labels(self, merges: int) -> np.ndarray:
        """The cluster of each point after a number of merges."""
        points = len(self.pairs) + 1
        first, second = self.pairs[:merges].T
        graph = coo_matrix((np.ones(merges, np.int8), (first, second)), shape=(points, points))
        return connected_components(graph, directed=False)[1].astype(np.int64)

    def large(self, weights: np.ndarray, least: float) -> np.ndarray:
        """The number of clusters of a weight of `least` or more after 0, 1, ... merges, (points,)."""
        root, weight = np.arange(len(weights)), weights.astype(np.float64).copy()
        counts = [int((weight >= least).sum())]
        for a, b in self.pairs.tolist():
            a, b = _root(root, a), _root(root, b)
            change = int(weight[a] + weight[b] >= least) - int(weight[a] >= least) - int(weight[b] >= least)
            root[b] = a
            weight[a] += weight[b]
            counts.append(counts[-1] + change)
        return np.array(counts)


def _root(parents: np.ndarray, point: int) -> int:
    while parents[point] != point:
        parents[point] = point = parents[parents[point]]
    return int(point)


def average_linkage(similarity: np.ndarray, weights: np.ndarray) -> Tree:
    """The tree of average linkage, by nearest-neighbour chains.

    similarity: (points, points), of which a copy is changed; weights: the number of items that each point stands for
    The similarity of two clusters is the mean over all pairs of their items.
    """
    similarity, weights = similarity.astype(np.float32), weights.astype(np.float64).copy()
    points = len(weights)
    np.fill_diagonal(similarity, -np.inf)
    alive = np.ones(points, bool)
    chain: list[int] = []
    pairs, values = np.empty((max(points - 1, 0), 2), np.int64), np.empty(max(points - 1, 0))
    for merge in range(points - 1):
        if not chain:
            chain = [int(alive.argmax())]
        while True:
            row = similarity[chain[-1]]
            near = int(row.argmax())
            if len(chain) > 1 and row[chain[-2]] >= row[near]:
                break
            chain.append(near)
        second, first = chain.pop(), chain.pop()
        pairs[merge], values[merge] = (first, second), similarity[first, second]
        total = weights[first] + weights[second]
        row = (weights[first] * similarity[first] + weights[second] * similarity[second]) / total
        row[first] = -np.inf
        similarity[first] = similarity[:, first] = row
        similarity[second] = similarity[:, second] = -np.inf
        weights[first], alive[second] = total, False
    order = np.argsort(-values, kind="stable")
    return Tree(pairs[order], values[order])


class Agglomerative(Clustering):
    """Clusters by average linkage of cosines."""

    Config = AgglomerativeConfig

    def __init__(self, config: AgglomerativeConfig) -> None:
        self.config = config

    def __call__(self, windows: Windows, shift: float, number: Number) -> np.ndarray:
        """See `Clustering`."""
        vectors, least = windows.vectors, self.config.least(len(windows), shift)
        groups = condensed(vectors)
        weights = np.bincount(groups).astype(np.float64)
        means = np.zeros((len(weights), vectors.shape[1]))
        np.add.at(means, groups, vectors)
        means = (means / weights[:, None]).astype(np.float32)
        tree = average_linkage(means @ means.T, weights)
        labels, large = cut(tree, weights, self.config.threshold, least, number)
        labels = to_nearest(vectors, labels[groups], large)
        return refined(vectors, labels)


def cut(
    tree: Tree, weights: np.ndarray, threshold: float, least: float, number: Number
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the points, and which clusters are large, bool (labels,).

    Merges stop at the threshold. If the number of clusters with a weight of at least `least` is then out of bounds,
    merging continues, or stops earlier, until it is within them; if it never is, smaller clusters count as well.
    """
    merges = int((tree.similarity >= threshold).sum())
    large = tree.large(weights, least)
    wanted = min(number.clipped(max(int(large[merges]), 1)), len(weights))
    if large.max() < wanted:
        merges, least = len(weights) - wanted, 0.0
    elif wanted != max(large[merges], 1):
        merges = int(np.flatnonzero(large >= wanted)[-1])
    labels = tree.labels(merges)
    sizes = np.bincount(labels, weights)
    kept = sizes >= least
    if not kept.any():
        kept[sizes.argmax()] = True
    return labels, kept


def condensed(vectors: np.ndarray) -> np.ndarray:
    """A group for each vector, int64 (vectors,), counted from 0: at most `MOST` groups of similar neighbours in time.

    The mean similarity of two sets of vectors is that of their means, so average linkage can continue with the groups.
    """
    groups = np.arange(len(vectors))
    means, weights = vectors, np.ones(len(vectors))
    while len(weights) > MOST:
        parts, offset = [], 0
        for first in range(0, len(weights), BLOCK):
            rows = slice(first, first + BLOCK)
            tree = average_linkage(means[rows] @ means[rows].T, weights[rows])
            parts.append(tree.labels(max(0, len(weights[rows]) - KEPT)) + offset)
            offset = int(parts[-1].max()) + 1
        own = np.concatenate(parts)
        groups = own[groups]
        weights = np.bincount(groups).astype(np.float64)
        sums = np.zeros((offset, vectors.shape[1]))
        np.add.at(sums, groups, vectors)
        means = (sums / weights[:, None]).astype(np.float32)
    return groups


def refined(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels after assigning each vector to the nearest centroid, repeated a few times."""
    for _ in range(REFINEMENTS):
        labels = renumbered((vectors @ centroids(vectors, labels).T).argmax(axis=1))
    return labels
