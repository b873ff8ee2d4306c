"""Cosine scoring against a loop over trials: python tests/benchmarks/scoring.py [TRIALS [DIM]].

The default is the size of VoxCeleb's H list. The loop, as toolkits have it, makes one call for each trial; it runs over
a part of the list and is scaled up.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pyarrow as pa

from spkver.embeddings import Embeddings
from spkver.metrics import eer, min_dcf
from spkver.scoring import cosine
from spkver.trials import Trials


def main(size: int = 550_894, dim: int = 256, utterances: int = 100_000, looped: int = 20_000) -> None:
    rng = np.random.default_rng(0)
    ids = np.array([f"id{i % 1251:05}/{i:011}/00001.wav" for i in range(utterances)])
    embeddings = Embeddings(ids.tolist(), rng.normal(size=(utterances, dim)).astype(np.float32))
    one, other = rng.integers(utterances, size=(2, size))
    trials = Trials(pa.array(ids[one]), pa.array(ids[other]), one % 1251 < 600)

    start = time.perf_counter()
    scores = cosine.score(trials, embeddings)
    vectorised = time.perf_counter() - start

    vectors = dict(zip(embeddings.ids, embeddings.vectors))
    pairs = list(zip(trials.enrol[:looped].to_pylist(), trials.test[:looped].to_pylist()))
    start = time.perf_counter()
    expected = []
    for enrol, test in pairs:
        a, b = vectors[enrol], vectors[test]
        expected.append(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    loop = (time.perf_counter() - start) * size / max(1, len(pairs))
    np.testing.assert_allclose(scores[:looped], expected, atol=1e-5)

    start = time.perf_counter()
    eer(scores, trials.target)
    min_dcf(scores, trials.target)
    metrics = time.perf_counter() - start
    print(f"{size} trials of {dim} values, {utterances} utterances")
    print(f"spkver {vectorised:.2f} s, a loop over trials {loop:.2f} s: {loop / vectorised:.1f} times as long")
    print(f"EER and minDCF, each from the start: {metrics:.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
