from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.report.embedding_map import embedding_map, pca, sample, tsne


def clusters(speakers=6, each=10, dim=12, noise=0.2):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(speakers, dim))
    vectors = np.repeat(centres, each, axis=0) + noise * rng.normal(size=(speakers * each, dim))
    names = [f"s{i}" for i in range(speakers) for _ in range(each)]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), names


def test_pca_keeps_distances_of_plane():
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(9, 2)))[0]
    vectors = rng.normal(size=(40, 2)) @ plane.T
    np.testing.assert_allclose(pdist(pca(vectors)), pdist(vectors))
    assert pca(vectors[:1]).tolist() == [[0, 0]]


def test_tsne_separates_speakers():
    pytest.importorskip("sklearn")
    vectors, names = clusters()
    places = tsne(vectors)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert all(names[row] == names[nearest] for row, nearest in enumerate(distances.argmin(axis=1)))


def test_sample_has_whole_speakers_up_to_limit():
    names = [f"s{i % 50}" for i in range(5000)]
    rows = sample(names, 200)
    drawn = [names[row] for row in rows]
    assert (
        len(rows) == 200
        and rows == sorted(set(rows))
        and sorted(drawn.count(name) for name in set(drawn))[1:] == [30] * 6
    )
    assert len(sample([""] * 500, 200)) == 200 and sample(names, 200) == rows


def test_map_and_table():
    vectors, names = clusters()
    ids = [f"<{i}>" for i in range(len(names))]
    made = embedding_map(Embeddings(ids, (3 * vectors).astype(np.float32)), names, method="pca")
    assert made.count("<circle") == 60 and made.count("data-group=") == 6 and "&lt;0&gt; (s0)" in made
    means = np.stack([vectors[i * 10 : i * 10 + 10].mean(axis=0) for i in range(6)])
    lengths = np.linalg.norm(means, axis=1)
    cosines = (means / lengths[:, None]) @ (means / lengths[:, None]).T - 2 * np.eye(6)
    cells = re.search(
        r'<th scope="row">s3</th><td>(\w+)</td><td class="number">(.*?)</td><td class="number">(.*?)<', made
    )
    assert cells[1] == f"s{cosines[3].argmax()}"
    assert float(cells[2]) == pytest.approx(cosines[3].max(), abs=6e-4)
    own = np.mean(vectors[30:40] @ (means[3] / lengths[3]))
    assert float(cells[3]) == pytest.approx(own, abs=6e-4)
    HTMLParser().feed(made)


def test_without_speakers_and_without_scikit_learn(monkeypatch):
    vectors, _ = clusters()
    one = Embeddings([str(i) for i in range(60)], vectors.astype(np.float32))
    assert "60 embeddings, by cosine: PCA" in embedding_map(one, None, method="pca")
    assert "60 embeddings of 1 speaker, by" in embedding_map(one, ["a"] * 60, method="pca")
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(InputError, match=r"spkver\[geometry\]"):
        embedding_map(one, None, method="tsne")
