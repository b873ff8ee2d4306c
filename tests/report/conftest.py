"""A small evaluation: people of two genders, scores of two systems, embeddings, a run of training, recordings."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&.wav"


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory):
    """All material of a page; one id has markup in it."""
    from spkver import audio
    from spkver.datadir import from_columns
    from spkver.embeddings import Embeddings
    from spkver.report.curves import read_curves
    from spkver.trials import Scores, make_trials

    root = tmp_path_factory.mktemp("evaluation")
    rng = np.random.default_rng(0)
    speakers = [f"s{i % 12:02}" for i in range(72)]
    ids = [f"{speaker}/{i:03}.wav" for i, speaker in enumerate(speakers)]
    ids[0] = f"s00/{HOSTILE}"
    centres = rng.normal(size=(12, 16))
    vectors = np.stack([centres[i % 12] for i in range(72)])
    trials = make_trials(ids, speakers, nontargets=900, seed=0)
    place = {name: row for row, name in enumerate(ids)}
    rows = [[place[name] for name in side.to_pylist()] for side in (trials.enrol, trials.test)]

    def system(noise):
        made = vectors + noise * rng.normal(size=vectors.shape)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        scores = (made[rows[0]] * made[rows[1]]).sum(axis=1)
        return Embeddings(ids, made.astype(np.float32), speakers), Scores(trials, (8 * scores - 3).astype(np.float32))

    embeddings, good = system(1.0)
    _, poor = system(1.6)
    seconds = rng.uniform(2, 9, size=72)
    paths = [str(root / f"{i}.wav") for i in range(72)]
    for i, path in enumerate(paths):
        tone = 0.3 * np.sin(2 * np.pi * (200 + 20 * (i % 12)) * np.arange(16000) / 16000)
        audio.write(path, tone.astype(np.float32), 16000)
    genders = ["m" if int(speaker[1:]) % 2 else "f" for speaker in speakers]
    ages = [str(20 + 3 * int(speaker[1:])) for speaker in speakers]
    data = from_columns(ids, paths, speakers, seconds=list(seconds), genders=genders, ages=ages)
    (root / "run").mkdir()
    lines = [{"step": 10 * i, "loss": 5 / i, "dev_eer": 0.3 / i} for i in range(1, 9)]
    (root / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    known = pa.table({name: data.table[name] for name in ("id", "speaker", "seconds", "gender", "age")})
    return SimpleNamespace(
        root=root,
        systems={"good <one>": good, "poor": poor},
        embeddings=embeddings,
        known=known,
        data=data,
        runs={"poor": [read_curves(root / "run")] * 2, "new": [read_curves(root / "run")]},
    )
