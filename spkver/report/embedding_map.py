"""Embeddings in two dimensions: t-SNE if scikit-learn is installed, else PCA."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from spkver.embeddings import Embeddings
from spkver.errors import load_optional
from spkver.page import Axis, Chart, Html, figure, span, table

POINTS = 1000
_EACH = 30  # largest number of points per speaker
_PERPLEXITY = 30.0
_MOST_LABELS = 25
_METHODS = {"tsne": "t-SNE (neighbours stay neighbours; distances between groups are not meaningful)", "pca": "PCA"}


def embedding_map(
    embeddings: Embeddings, speakers: Sequence[str] | None, *, method: str | None = None, points: int = POINTS
) -> Html:
    """A map of at most `points` embeddings, by cosine, and a table of the similarity of speakers.

    speakers: the speaker of each row, "" if unknown
    method: "tsne" or "pca"; by default t-SNE if scikit-learn is installed
    """
    names = list(speakers) if speakers is not None else [""] * len(embeddings)
    rows = sample(names, points)
    names = [names[row] for row in rows]
    vectors = embeddings.vectors[rows].astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if method is None:
        method = "tsne" if find_spec("sklearn") else "pca"
    if len(rows) < 5:  # too few for t-SNE
        method = "pca"
    places = tsne(vectors) if method == "tsne" else pca(vectors)
    chart = Chart(Axis("", *span(places[:, 0]), []), Axis("", *span(places[:, 1]), []), 440)
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        groups.setdefault(name, []).append(row)
    for number, (name, own) in enumerate(sorted(groups.items())):
        titles = [f"{embeddings.ids[rows[row]]} ({name or 'unknown speaker'})" for row in own]
        chart.group(name or "unknown", places[own, 0], places[own, 1], number, titles)
    if 1 < len(groups) <= _MOST_LABELS:
        for name, own in groups.items():
            across, up = np.median(places[own], axis=0).tolist()
            chart.text(across, up, name)
    of_all = f" of {len(embeddings)}" if len(rows) < len(embeddings) else ""
    known = {name: own for name, own in groups.items() if name}
    of_speakers = f" of {len(known)} speaker{'s'[: len(known) > 1]}" if known else ""
    words = f"{len(rows)}{of_all} embeddings{of_speakers}, by cosine: {_METHODS[method]}."
    numbers = closeness(vectors, known) if len(known) > 1 else ""
    return figure(chart.svg("map of the embeddings"), words, numbers=numbers)


def sample(speakers: Sequence[str], points: int) -> list[int]:
    """A random sample of at most `points` rows, ascending: whole speakers with at most 30 rows each."""
    random = np.random.default_rng(0)
    groups: dict[str, list[int]] = {}
    for row in random.permutation(len(speakers)).tolist():
        own = groups.setdefault(speakers[row], [])
        if len(own) < _EACH or not speakers[row]:
            own.append(row)
    kept: list[int] = []
    for own in groups.values():
        kept += own[: points - len(kept)]
    return sorted(kept)


def pca(vectors: np.ndarray) -> np.ndarray:
    """The first two principal components of vectors (rows, dim): (rows, 2), signed so that the largest is positive."""
    centred = vectors - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    count = min(2, len(values))
    places[:, :count] = left[:, :count] * values[:count]
    signs = np.sign(places[np.abs(places).argmax(axis=0), range(2)])
    return np.asarray(places * np.where(signs == 0, 1, signs))


def tsne(vectors: np.ndarray) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008) of vectors (rows, dim), initialised with PCA: (rows, 2)."""
    found = load_optional("sklearn.manifold", "geometry").TSNE(
        init="pca", perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3), random_state=0
    )
    # Its many short steps synchronise all threads, which is slower than one thread if the cores are shared.
    with load_optional("threadpoolctl", "geometry").threadpool_limits(1):
        return np.asarray(found.fit_transform(vectors.astype(np.float32)), np.float64)


def closeness(vectors: np.ndarray, groups: dict[str, list[int]]) -> Html:
    """Table of the similarity within each speaker and of the nearest other speaker.

    vectors: (rows, dim), length 1
    groups: the rows of each speaker
    """
    names = list(groups)
    means = np.stack([vectors[own].mean(axis=0) for own in groups.values()])
    lengths = np.linalg.norm(means, axis=1)
    means /= np.maximum(lengths[:, None], 1e-12)
    cosines = means @ means.T
    np.fill_diagonal(cosines, -np.inf)
    rows = [["speaker", "nearest other", "cosine to it", "cosine to own mean", "embeddings"]]
    for place in np.argsort(-cosines.max(axis=1), kind="stable").tolist():
        other = int(cosines[place].argmax())
        # the mean cosine of unit vectors to the direction of their mean equals the length of the mean
        near = f"{cosines[place, other]:.3f}"
        rows.append([names[place], names[other], near, f"{lengths[place]:.3f}", str(len(groups[names[place]]))])
    return table(rows, title="Closest speakers first (of the embeddings shown)", words=2, sortable=True)
