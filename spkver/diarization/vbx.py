"""Bayesian HMM clustering of windows, VBx.

Landini, Profant, Diez, Burget, "Bayesian HMM clustering of x-vector sequences (VBx) in speaker diarization: theory,
implementation and analysis on standard tasks", Computer Speech & Language 71, 2022 (arXiv:2012.14952). Numbers of
equations are those of the paper.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field
from scipy.special import softmax

from spkver.diarization.agglomerative import Agglomerative, AgglomerativeConfig
from spkver.diarization.clustering import Clustering, ClusteringConfig, Number, renumbered
from spkver.diarization.windows import Windows
from spkver.embeddings import Embeddings
from spkver.scoring.chain import read_chain
from spkver.scoring.plda import read_plda

ITERATIONS, LEAST_GAIN = 40, 1e-6  # of the variational inference
SMOOTHING = 5.0  # of the first labels, as in the authors' code
FLOOR = 1e-100


class VbxConfig(ClusteringConfig):
    """An HMM whose states are speakers with a PLDA prior, started from agglomerative clustering.

    The first clustering should find too many speakers rather than too few, because speakers can only vanish.
    """

    name: Literal["vbx"] = "vbx"
    threshold: float = Field(ge=-1, le=1, description="threshold of the initial agglomerative clustering")
    plda: str = Field(description="directory of a PLDA model of the same embeddings (spkver plda)")
    chain: str = Field("", description="directory of the chain of transforms that comes before the PLDA")
    dims: int = Field(128, ge=1, description="the most discriminative axes of the PLDA that are used")
    fa: float = Field(0.3, gt=0, description="factor of the likelihoods, because windows overlap")
    fb: float = Field(17.0, gt=0, description="factor of the speaker prior; larger values give fewer speakers")
    loop: float = Field(0.99, ge=0, lt=1, description="probability that the speaker does not change at a window")


class Inferred(NamedTuple):
    """Posteriors of the speakers (windows, speakers), their priors (speakers,), the ELBO of each iteration."""

    posterior: np.ndarray
    prior: np.ndarray
    elbo: list[float]


def vbx(
    points: np.ndarray,
    spread: np.ndarray,
    posterior: np.ndarray,
    *,
    loop: float,
    fa: float,
    fb: float,
    iterations: int = ITERATIONS,
    least_gain: float = LEAST_GAIN,
) -> Inferred:
    """Variational inference, in float64.

    points: windows (windows, dim) on axes with mean 0, within-speaker covariance 1, and between-speaker variance
        `spread` (dim,), rising or not; posterior: the first ones (windows, speakers)
    """
    dims, speakers = points.shape[1], posterior.shape[1]
    prior = np.full(speakers, 1 / speakers)
    constant = -0.5 * (np.square(points).sum(axis=1, keepdims=True) + dims * np.log(2 * np.pi))
    rho = points * np.sqrt(spread)  # (18)
    elbo: list[float] = []
    for _ in range(iterations):
        variance = 1 / (1 + fa / fb * posterior.sum(axis=0)[:, None] * spread)  # (17)
        mean = fa / fb * variance * (posterior.T @ rho)  # (16)
        scores = fa * (rho @ mean.T - 0.5 * (variance + mean**2) @ spread + constant)  # (23)
        posterior, entries, evidence = _forward_backward(scores, prior, loop)  # (19) to (22)
        elbo.append(evidence + 0.5 * fb * float((np.log(variance) - variance - mean**2 + 1).sum()))  # (25)
        prior = posterior[0] + entries  # (24)
        prior = prior / prior.sum()
        if len(elbo) > 1 and elbo[-1] - elbo[-2] < least_gain:
            break
    return Inferred(posterior, prior, elbo)


def _forward_backward(scores: np.ndarray, prior: np.ndarray, loop: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Posteriors of the states, the expected number of entries to each after the first window, the log evidence.

    scores: log likelihoods (windows, states). A window keeps the state with probability `loop`, or else draws one from
    the prior, maybe the same.
    """
    highest = scores.max(axis=1, keepdims=True)
    likely = np.maximum(np.exp(scores - highest), FLOOR)
    windows = len(scores)
    forward, backward, scale = np.empty_like(likely), np.ones_like(likely), np.empty(windows)
    state = prior * likely[0]
    for window in range(windows):
        if window:
            state = (loop * state + (1 - loop) * prior) * likely[window]
        scale[window] = state.sum()
        forward[window] = state = state / scale[window]
    for window in range(windows - 2, -1, -1):
        later = likely[window + 1] * backward[window + 1] / scale[window + 1]
        backward[window] = loop * later + (1 - loop) * (prior @ later)
    entries = (1 - loop) * prior * (likely[1:] * backward[1:] / scale[1:, None]).sum(axis=0)
    posterior = forward * backward
    evidence = float(np.log(scale).sum() + highest.sum())
    return posterior / posterior.sum(axis=1, keepdims=True), entries, evidence


class Vbx(Clustering):
    """Clusters by Bayesian HMM clustering."""

    Config = VbxConfig

    def __init__(self, config: VbxConfig) -> None:
        """Raises InputError if PLDA or chain cannot be read."""
        self.config = config
        self.plda = read_plda(config.plda)
        self.chain = read_chain(config.chain) if config.chain else None

    def __call__(self, windows: Windows, shift: float, number: Number) -> np.ndarray:
        """See `Clustering`. Raises InputError for windows of another model than the PLDA's."""
        config = self.config
        # also for a single speaker, so that a wrong PLDA is always an error
        points, spread = self._projected(windows)
        start = AgglomerativeConfig(threshold=config.threshold, least_seconds=config.least_seconds)
        first = Agglomerative(start)(windows, shift, number)
        if first.max() == 0:
            return first
        smooth = softmax(SMOOTHING * np.eye(first.max() + 1)[first], axis=1)
        found = vbx(points, spread, smooth, loop=config.loop, fa=config.fa, fb=config.fb)
        labels = renumbered(found.posterior.argmax(axis=1))
        return labels if labels.max() + 1 == number.clipped(int(labels.max()) + 1) else first

    def _projected(self, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
        """Windows on the most discriminative axes of the PLDA, and the between-speaker variances."""
        ids = [str(row) for row in range(len(windows))]
        vectors = (windows.vectors * windows.lengths[:, None]).astype(np.float32)
        raw = Embeddings(ids, vectors, None, windows.model, windows.front_end)
        made = self.chain(raw) if self.chain else raw
        self.plda.require(made)
        axes, spread = self.plda.axes()
        best = np.argsort(-spread)[: self.config.dims]
        return (made.vectors - self.plda.mean) @ axes[:, best], spread[best]
