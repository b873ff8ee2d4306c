from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from spkver.config import validate
from spkver.diarization import CLUSTERINGS, agglomerative, spectral
from spkver.diarization.agglomerative import average_linkage, condensed, cut
from spkver.diarization.clustering import Number, centroids, renumbered, to_nearest
from spkver.diarization.windows import Windows


def same(one, other):
    """Whether two labellings make the same groups."""
    return len(set(zip(one, other))) == len(set(one)) == len(set(other))


def voices(counts, noise=0.4, dim=24, seed=0):
    """Windows of speakers with so many windows each, shuffled, and their speakers."""
    random = np.random.default_rng(seed)
    centres = np.linalg.qr(random.normal(size=(dim, dim)))[0][: len(counts)]
    truth = random.permutation(np.repeat(np.arange(len(counts)), counts))
    vectors = centres[truth] + noise / np.sqrt(dim) * random.normal(size=(len(truth), dim))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    starts = np.arange(len(truth)) * 0.5
    return Windows(
        np.stack([starts, starts + 1.5], axis=1), np.zeros(len(truth), np.int64), vectors, np.ones(len(truth))
    ), truth


def build(name, **keys):
    return CLUSTERINGS.build(validate(CLUSTERINGS, {"name": name, **keys}))


ALL = [("agglomerative", {"threshold": 0.5}), ("spectral", {})]


@given(st.integers(2, 40), st.integers(0, 1000), st.floats(-0.5, 0.9))
def test_average_linkage_equals_scipy(points, seed, threshold):
    vectors = np.random.default_rng(seed).normal(size=(points, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    tree = average_linkage(similarity, np.ones(points))
    distance = squareform(1 - similarity, checks=False).clip(0)
    expected = linkage(distance, "average")
    np.testing.assert_allclose(np.sort(tree.similarity), np.sort(1 - expected[:, 2]), atol=1e-5)
    found = tree.labels(int((tree.similarity >= threshold).sum()))
    if np.abs(tree.similarity - threshold).min() > 1e-4:
        assert same(found, fcluster(expected, 1 - threshold, "distance"))


def test_a_point_of_a_weight_counts_as_so_many_points():
    random = np.random.default_rng(0)
    vectors, weights = random.normal(size=(12, 4)), random.integers(1, 5, 12)
    tree = average_linkage(vectors @ vectors.T, weights)
    many = np.repeat(vectors, weights, axis=0)
    similarity = many @ many.T + 1e3 * np.equal.outer(*[np.repeat(np.arange(12), weights)] * 2)  # merged first
    whole = average_linkage(similarity, np.ones(len(many)))
    np.testing.assert_allclose(tree.similarity, whole.similarity[-11:], rtol=1e-4)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 8), st.integers(1, 12), st.floats(-1, 1))
def test_cut_keeps_the_bounds_of_the_number(sizes, wanted, least, threshold):
    windows, _ = voices(sizes, noise=1.0)
    weights = np.ones(len(windows))
    tree = average_linkage(windows.vectors @ windows.vectors.T, weights)
    labels, kept = cut(tree, weights, threshold, least, Number(wanted, wanted))
    assert kept.sum() == min(wanted, len(windows))
    assert kept.shape == (labels.max() + 1,)
    labels, kept = cut(tree, weights, threshold, least, Number(1, wanted))
    assert 1 <= kept.sum() <= wanted


@pytest.mark.parametrize(("name", "keys"), ALL)
@pytest.mark.parametrize("counts", [[80, 60], [70, 50, 40], [60, 60, 60, 60, 50]])
def test_clear_speakers_are_found(name, keys, counts):
    windows, truth = voices(counts)
    assert same(build(name, **keys)(windows, 0.5, Number()), truth)


@pytest.mark.parametrize(("name", "keys"), ALL)
def test_a_given_number_is_kept(name, keys):
    windows, _ = voices([60, 60, 60])
    for number in (1, 2, 3, 5):
        labels = build(name, **keys)(windows, 0.5, Number(number, number))
        assert labels.max() + 1 == number, (name, number)


@pytest.mark.parametrize(("name", "keys"), ALL)
@pytest.mark.parametrize("windows", [1, 2, 3])
def test_few_windows(name, keys, windows):
    found = build(name, **keys)(voices([windows])[0], 0.5, Number())
    assert found.shape == (windows,) and found.min() == 0


@pytest.mark.parametrize(("name", "keys"), ALL)
@pytest.mark.parametrize("windows", [1, 2, 3, 5])
@pytest.mark.parametrize("number", [Number(3, 3), Number(5, 5), Number(9), Number(5, 40)])
def test_no_more_speakers_than_windows(name, keys, windows, number):
    found = build(name, **keys)(voices([windows], noise=2.0)[0], 0.5, number)
    assert found.max() + 1 == min(number.least, windows)


@pytest.mark.parametrize(("name", "keys"), ALL)
@pytest.mark.parametrize("windows", [5, 8, 12, 60])
def test_the_least_number_is_kept_where_all_speakers_speak_little(name, keys, windows):
    found = build(name, **keys, least_seconds=6)(voices([windows], noise=4.0)[0], 0.5, Number(4))
    assert found.max() + 1 >= 4


def test_a_cluster_of_little_speech_goes_to_the_nearest():
    windows, truth = voices([80, 60, 3])
    found = build("agglomerative", threshold=0.5, least_seconds=2)(windows, 0.5, Number())
    assert found.max() == 1 and same(found[truth < 2], truth[truth < 2])
    assert build("agglomerative", threshold=0.5, least_seconds=1.5)(windows, 0.5, Number()).max() == 2


@pytest.mark.parametrize(("seconds", "least"), [(10, 2.0), (19, 2.0), (40, 4.0), (60, 6.0), (600, 6.0)])
def test_a_speaker_of_a_short_recording_needs_less_speech(seconds, least):
    """A tenth of the speech, but at least 2 s."""
    keys = {"name": "agglomerative", "threshold": 0.5, "least_seconds": 6}
    assert validate(CLUSTERINGS, keys).least(2 * seconds, 0.5) * 0.5 == least
    windows, truth = voices([2 * seconds - round(2 * least), round(2 * least)])
    assert same(build(**keys)(windows, 0.5, Number()), truth)
    windows, _ = voices([2 * seconds - round(2 * least) + 1, round(2 * least) - 1])
    assert build(**keys)(windows, 0.5, Number()).max() == 0


def test_many_windows_are_condensed_first(monkeypatch):
    monkeypatch.setattr(agglomerative, "MOST", 100)
    monkeypatch.setattr(agglomerative, "BLOCK", 60)
    monkeypatch.setattr(agglomerative, "KEPT", 12)
    windows, truth = voices([400, 300, 200, 100])
    groups = condensed(windows.vectors)
    assert len(windows) > 100 >= groups.max() + 1 == len(set(groups))
    assert all(len(set(truth[groups == group])) == 1 for group in set(groups))
    assert same(build("agglomerative", threshold=0.5)(windows, 0.5, Number()), truth)


def test_centroids_and_nearest():
    vectors = np.array([[1, 0], [0, 1], [0.9, 0.1]], np.float32)
    np.testing.assert_allclose(centroids(vectors, np.array([0, 1, 0])), [[0.99862, 0.05256], [0, 1]], atol=1e-4)
    assert to_nearest(vectors, np.array([0, 1, 2]), np.array([True, True, False])).tolist() == [0, 1, 0]
    assert renumbered(np.array([7, 2, 7])).tolist() == [1, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_spectral_clustering_of_a_short_recording(seed):
    """The graph of fewer neighbours has more parts than there are speakers."""
    windows, truth = voices([20, 16, 14], noise=0.8, seed=seed)
    assert same(build("spectral", neighbours=0.03)(windows, 0.5, Number()), truth)


def test_spectral_clustering_where_some_eigenvalues_cannot_be_found(monkeypatch):
    def eigh(matrix, subset_by_index=None, driver=None):
        if subset_by_index:
            raise np.linalg.LinAlgError("Internal Error.")
        return np.linalg.eigh(matrix)

    windows, truth = voices([40, 30])
    monkeypatch.setattr(spectral, "eigh", eigh)
    assert same(build("spectral")(windows, 0.5, Number()), truth)


def test_spectral_clustering_of_copies_does_not_warn(recwarn):
    vectors = np.repeat(np.eye(8, dtype=np.float32)[:2], 40, axis=0)  # two points only, so most clusters are empty
    labels = spectral._kmeans(vectors)
    assert len(set(labels.tolist())) == 2 and not recwarn.list
