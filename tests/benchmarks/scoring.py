"""Cosine scoring against a loop over trials: python tests/benchmarks/scoring.py [TRIALS [DIM]].

The default is the size of VoxCeleb's H list. Two loops, each over a part of the list and scaled up: a lookup and a dot
product of normalised vectors for each trial, and scikit-learn's function called for each trial, as toolkits do.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pyarrow as pa
from sklearn.metrics.pairwise import cosine_similarity

from spkver.embeddings import Embeddings
from spkver.metrics import eer, min_dcf
from spkver.scoring import cosine
from spkver.trials import Trials


def main(size: int = 550_894, dim: int = 256, utterances: int = 100_000) -> None:
    rng = np.random.default_rng(0)
    ids = np.array([f"id{i % 1251:05}/{i:011}/00001.wav" for i in range(utterances)])
    embeddings = Embeddings(ids.tolist(), rng.normal(size=(utterances, dim)).astype(np.float32))
    one, other = rng.integers(utterances, size=(2, size))
    trials = Trials(pa.array(ids[one]), pa.array(ids[other]), one % 1251 < 600)

    start = time.perf_counter()
    scores = cosine.score(trials, embeddings)
    vectorised = time.perf_counter() - start

    unit = embeddings.vectors / np.linalg.norm(embeddings.vectors, axis=1, keepdims=True)
    vectors = dict(zip(embeddings.ids, unit))
    loops = {
        "a dot product for each trial": (50_000, lambda a, b: a @ b),
        "scikit-learn called for each trial": (2_000, lambda a, b: cosine_similarity(a[None], b[None])[0, 0]),
    }
    print(f"{size} trials of {dim} values, {utterances} utterances: {vectorised:.2f} s")
    for name, (count, compare) in loops.items():
        part = list(zip(trials.enrol[:count].to_pylist(), trials.test[:count].to_pylist()))
        start = time.perf_counter()
        expected = [compare(vectors[enrol], vectors[test]) for enrol, test in part]
        loop = (time.perf_counter() - start) * size / len(part)
        np.testing.assert_allclose(scores[:count], expected, atol=1e-5)
        print(f"{name}: {loop:.2f} s, {loop / vectorised:.1f} times as long")

    start = time.perf_counter()
    eer(scores, trials.target)
    min_dcf(scores, trials.target)
    metrics = time.perf_counter() - start
    print(f"EER and minDCF, each from the start: {metrics:.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
