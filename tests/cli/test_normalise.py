from __future__ import annotations

import numpy as np

from spkver.embeddings import Embeddings, write_embeddings
from spkver.trials import read_scores


def test_normalise(spkver, scored_corpus):
    vectors = np.random.default_rng(1).normal(size=(60, 8)).astype(np.float32)
    cohort = scored_corpus / "cohort.parquet"
    speakers = [f"c{i % 12}" for i in range(60)]
    write_embeddings(cohort, Embeddings([f"c{i}" for i in range(60)], vectors, speakers, model="abc"))
    emb, scores, kept = scored_corpus / "emb.parquet", scored_corpus / "scores", scored_corpus / "kept"
    spkver("score", scored_corpus / "trials", emb, scores)
    outs = [scored_corpus / f"{i}.txt" for i in range(3)]
    spkver("normalise", scores, emb, cohort, outs[0], "--top", 20)
    for out in outs[1:]:
        spkver("normalise", scores, emb, cohort, out, "--top", 20, "--cache", kept)
    assert outs[0].read_text() == outs[1].read_text() == outs[2].read_text()
    assert [path.name for path in kept.iterdir()] == ["enrol.parquet"]
    assert len(read_scores(outs[0])) == 950
    done = spkver("normalise", scores, emb, cohort, outs[0], "--by-speaker", "--method", "z", "--mean", cohort)
    assert "950 scores" in done.stdout
    assert (
        "between 2 and 12"
        in spkver("normalise", scores, emb, cohort, outs[0], "--by-speaker", "--top", 20, code=2).stderr
    )


def test_normalise_plda_scores(spkver, scored_corpus):
    """Cohort scores come from the same back end as the scores."""
    vectors = np.random.default_rng(1).normal(size=(120, 8)).astype(np.float32)
    cohort, emb = scored_corpus / "cohort.parquet", scored_corpus / "emb.parquet"
    speakers = [f"c{i % 30}" for i in range(120)]
    write_embeddings(cohort, Embeddings([f"c{i}" for i in range(120)], vectors, speakers, model="abc"))
    chain, plda, scores, out = (scored_corpus / name for name in ("chain", "plda", "scores", "out"))
    spkver("transform", "fit", cohort, chain)
    spkver("plda", "fit", cohort, plda, "--chain", chain, "--iterations", 2)
    how = ("--chain", chain, "--plda", plda)
    spkver("score", scored_corpus / "trials", emb, scores, *how)
    spkver("normalise", scores, emb, cohort, out, "--method", "t", "--cache", scored_corpus / "kept", *how)
    spkver("score-all", emb, scored_corpus / "all.npz", "--test", cohort, *how)
    with np.load(scored_corpus / "all.npz") as every:
        own = dict(zip(every["enrol"].tolist(), zip(every["scores"].mean(axis=1), every["scores"].std(axis=1))))
    given, found = read_scores(scores), read_scores(out)
    expected = [(s - own[t][0]) / own[t][1] for s, t in zip(given.values, given.trials.test.to_pylist())]
    np.testing.assert_allclose(found.values, expected, rtol=2e-3, atol=2e-3)
