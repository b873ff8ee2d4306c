"""Commands as a user runs them, and a small set of embeddings and trials to run them on."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture(scope="session")
def spkver():
    """Run `spkver ARGUMENTS` in a separate process."""

    def run(*arguments, code=0):
        done = subprocess.run([sys.executable, "-m", "spkver", *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        if code == 2:
            assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def scored_corpus(tmp_path):
    """A directory with `trials` and `emb.parquet`, embeddings of 10 speakers."""
    from spkver.embeddings import Embeddings, write_embeddings
    from spkver.trials import make_trials, write_trials

    rng = np.random.default_rng(0)
    ids = [f"s{i % 10}/{i:03}.wav" for i in range(100)]
    speakers = [i.split("/")[0] for i in ids]
    centres = rng.normal(size=(10, 8))
    vectors = np.stack([centres[int(s[1:])] for s in speakers]) + 0.7 * rng.normal(size=(100, 8))
    write_embeddings(tmp_path / "emb.parquet", Embeddings(ids, vectors.astype(np.float32), speakers, model="abc"))
    write_trials(tmp_path / "trials", make_trials(ids, speakers, nontargets=500, seed=0))
    return tmp_path
