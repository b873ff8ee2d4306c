from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

from spkver.config import validate
from spkver.diarization import CLUSTERINGS
from spkver.diarization.clustering import Number, renumbered
from spkver.diarization.vbx import _forward_backward, vbx
from spkver.diarization.windows import Windows
from spkver.errors import InputError
from spkver.scoring.plda import Plda, write_plda


def test_equals_the_authors_code():
    """vbx.npz: inputs and outputs of github.com/BUTSpeechFIT/VBx, 7 iterations, loopProb 0.9, Fa 0.4, Fb 2.

    That code adds 1e-8 to the probabilities of transitions.
    """
    case = np.load(Path(__file__).with_name("vbx.npz"), allow_pickle=False)
    found = vbx(
        case["points"], case["spread"], case["first"], loop=0.9, fa=0.4, fb=2.0, iterations=7, least_gain=-np.inf
    )
    np.testing.assert_allclose(found.posterior, case["posterior"], atol=1e-6)
    np.testing.assert_allclose(found.prior, case["prior"], atol=1e-6)
    np.testing.assert_allclose(found.elbo, case["elbo"], rtol=1e-6)


def test_forward_backward_equals_the_sum_over_all_paths():
    random, loop = np.random.default_rng(0), 0.7
    scores, prior = random.normal(size=(5, 3)), np.array([0.5, 0.3, 0.2])
    change = loop * np.eye(3) + (1 - loop) * prior
    paths = list(itertools.product(range(3), repeat=5))
    logs = [
        np.log(prior[path[0]])
        + scores[np.arange(5), list(path)].sum()
        + sum(np.log(change[a, b]) for a, b in itertools.pairwise(path))
        for path in paths
    ]
    posterior, _, evidence = _forward_backward(scores, prior, loop)
    assert evidence == pytest.approx(logsumexp(logs))
    weights = np.exp(np.array(logs) - logsumexp(logs))
    expected = [[weights[[path[t] == s for path in paths]].sum() for s in range(3)] for t in range(5)]
    np.testing.assert_allclose(posterior, expected, atol=1e-12)


def test_the_elbo_never_falls_and_extreme_scores_are_finite():
    random = np.random.default_rng(1)
    points, spread = 30 * random.normal(size=(60, 4)), np.array([5.0, 3.0, 2.0, 1.0])
    found = vbx(points, spread, random.dirichlet(np.ones(5), 60), loop=0.5, fa=1.0, fb=1.0)
    assert np.isfinite(found.posterior).all() and (np.diff(found.elbo) > -1e-6 * np.abs(found.elbo[:-1])).all()


@pytest.fixture
def talk(tmp_path):
    """Windows of three speakers in turns, the directory of their PLDA, and the speakers."""
    random, dim = np.random.default_rng(0), 12
    truth = np.repeat([0, 1, 0, 2, 1, 2], 20)
    vectors = 3 * random.normal(size=(3, dim))[truth] + random.normal(size=(len(truth), dim)) + 2
    lengths = np.linalg.norm(vectors, axis=1)
    starts = np.arange(len(truth)) * 0.5
    times = np.stack([starts, starts + 1.5], axis=1)
    units = (vectors / lengths[:, None]).astype(np.float32)
    write_plda(tmp_path / "plda", Plda(np.full(dim, 2.0), 9 * np.eye(dim), np.eye(dim), "hash"))
    return Windows(times, np.zeros(len(truth), np.int64), units, lengths, "hash"), tmp_path / "plda", truth


def build(plda, **keys):
    return CLUSTERINGS.build(validate(CLUSTERINGS, {"name": "vbx", "plda": str(plda), **keys}))


def test_speakers_that_the_first_clustering_splits_are_joined(talk):
    windows, plda, truth = talk
    first = CLUSTERINGS.build(validate(CLUSTERINGS, {"name": "agglomerative", "threshold": 0.97}))
    assert first(windows, 0.5, Number()).max() > 2
    found = build(plda, threshold=0.97)(windows, 0.5, Number())
    assert (found == renumbered(found)).all() and found.max() == 2
    assert len(set(zip(found, truth))) == 3
    assert build(plda, threshold=0.5)(windows, 0.5, Number(2, 2)).max() == 1


def test_another_model_is_refused(talk):
    windows, plda, _ = talk
    other = Windows(windows.times, windows.regions, windows.vectors, windows.lengths, "other")
    one = other.taken(np.arange(len(other)) < 1)  # also where nothing is clustered
    for windows in (other, one):
        with pytest.raises(InputError, match="the PLDA is of 12 values of the model 'hash'"):
            build(plda, threshold=0.97)(windows, 0.5, Number())
