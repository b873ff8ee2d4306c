"""Two small labelled data sets that need no download."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spkver.errors import load_optional

DIGITS_FOR_TRAINING = 1200

_LATENT, _INPUTS = 6, 40


class Points(NamedTuple):
    """Labelled inputs."""

    x: np.ndarray
    """float32 (N, inputs)"""
    y: np.ndarray
    """int64 (N,), from 0 to C - 1"""


class Dataset(NamedTuple):
    """Training and test points."""

    train: Points
    test: Points

    @property
    def classes(self) -> int:
        """The number of classes C."""
        return int(self.train.y.max()) + 1


def digits() -> Dataset:
    """The 1797 handwritten digits of scikit-learn, 8×8 pixels each; the first 1200 are for training.

    The order of the set seems to follow the writers, so most test digits come from other writers than the training
    digits. Raises InputError if scikit-learn is not installed.
    """
    images, labels = load_optional("sklearn.datasets", "geometry").load_digits(return_X_y=True)
    x, y = np.float32(images / 8 - 1), np.int64(labels)
    cut = DIGITS_FOR_TRAINING
    return Dataset(Points(x[:cut], y[:cut]), Points(x[cut:], y[cut:]))


def speakers(seed: int, *, number: int = 8, sessions: tuple[int, int] = (20, 10), utterances: int = 10) -> Dataset:
    """Synthetic speakers: nested Gaussian clusters under a fixed random nonlinear map; test sessions are new.

    An utterance is the sum of three Gaussian vectors in 6 dimensions, for speaker, session and utterance. A random
    layer with tanh maps it to 40 dimensions, and noise is added. Neighbouring speakers overlap.
    sessions: number of sessions per speaker, for training and for test
    """
    random = np.random.default_rng(seed)
    centres = random.normal(size=(number, 1, 1, _LATENT))
    layers = random.normal(size=(_LATENT, _INPUTS)), random.normal(size=(_INPUTS, _INPUTS)) / _INPUTS**0.5

    def record(sessions: int) -> Points:
        offsets = 0.3 * random.normal(size=(number, sessions, 1, _LATENT))
        utterance = 0.3 * random.normal(size=(number, sessions, utterances, _LATENT))
        latent = (centres + offsets + utterance).reshape(-1, _LATENT)
        inputs = np.tanh(latent @ layers[0] / 2) @ layers[1]
        x = inputs + 0.1 * random.normal(size=inputs.shape)
        return Points(np.float32(x), np.repeat(np.arange(number), sessions * utterances))

    return Dataset(record(sessions[0]), record(sessions[1]))
