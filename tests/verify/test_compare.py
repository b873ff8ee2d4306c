from __future__ import annotations

import numpy as np
import pytest

from spkver.errors import InputError
from spkver.verify.compare import cosine, verify


class Fixed:
    """An encoder whose embeddings are known."""

    vectors = {"a": [1.0, 0.0], "b": [0.6, 0.8], "zero": [0.0, 0.0]}

    def embed(self, name):
        return np.array(self.vectors[name], np.float32)


def test_cosine_and_decision():
    assert verify(Fixed(), "a", "b").score == pytest.approx(0.6)
    assert verify(Fixed(), "a", "b").same is None
    assert verify(Fixed(), "a", "b", 0.5).same is True
    assert verify(Fixed(), "a", "b", 0.7).same is False
    assert verify(Fixed(), "a", "a", 1.0).same is True  # accepted at the threshold itself


def test_an_embedding_without_direction():
    with pytest.raises(InputError, match="zero"):
        verify(Fixed(), "a", "zero")


def test_length_does_not_matter():
    first, second = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    assert cosine(first, second) == pytest.approx(cosine(100 * first, 0.01 * second), abs=1e-6)
