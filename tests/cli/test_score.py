from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.trials import read_scores


@pytest.mark.parametrize("out", ["scores.txt", "scores.parquet"])
def test_scores(spkver, scored_corpus, out):
    done = spkver("score", scored_corpus / "trials", scored_corpus / "emb.parquet", scored_corpus / out)
    assert "950 scores" in done.stdout
    scores = read_scores(scored_corpus / out)
    embeddings = read_embeddings(scored_corpus / "emb.parquet")
    row = {name: i for i, name in enumerate(embeddings.ids)}
    every = cosine_similarity(embeddings.vectors)
    expected = [every[row[e], row[t]] for e, t in zip(scores.trials.enrol.to_pylist(), scores.trials.test.to_pylist())]
    np.testing.assert_allclose(scores.values, expected, atol=1e-6)
    assert scores.trials.target.sum() == 450


def test_every_option(spkver, scored_corpus):
    emb = scored_corpus / "emb.parquet"
    (scored_corpus / "map").write_text("m s0/000.wav s0/010.wav\n")
    (scored_corpus / "list").write_text("m s0/020.wav\nm s1/001.wav\n")
    out = scored_corpus / "out"
    spkver(
        "score", scored_corpus / "list", emb, out, "--enrolment", scored_corpus / "map", "--mean", emb, "--test", emb
    )
    lines = [line.split() for line in out.read_text().splitlines()]
    assert [line[:2] for line in lines] == [["m", "s0/020.wav"], ["m", "s1/001.wav"]]
    assert float(lines[0][2]) > float(lines[1][2])


def test_bad_input_is_one_line_and_leaves_no_file(spkver, scored_corpus):
    out = scored_corpus / "out"
    (scored_corpus / "bad").write_text("s0/000.wav s0/010.wav\nnobody s0/000.wav\n")
    done = spkver("score", scored_corpus / "bad", scored_corpus / "emb.parquet", out, code=2)
    assert "'nobody'" in done.stderr
    embeddings = read_embeddings(scored_corpus / "emb.parquet")
    write_embeddings(scored_corpus / "other.parquet", Embeddings(embeddings.ids, embeddings.vectors, model="xyz"))
    arguments = (scored_corpus / "trials", scored_corpus / "emb.parquet", out)
    done = spkver("score", *arguments, "--test", scored_corpus / "other.parquet", code=2)
    assert "different models" in done.stderr
    done = spkver("score", scored_corpus / "trials", scored_corpus / "trials", out, code=2)
    assert "unknown format; use a name ending in" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize("kind", ["emb.npz", "emb.npy", "emb.ark", "emb.scp"])
def test_other_formats_of_embeddings(spkver, scored_corpus, kind):
    spkver("convert", scored_corpus / "emb.parquet", scored_corpus / kind)
    for name in ("emb.parquet", kind):
        spkver("score", scored_corpus / "trials", scored_corpus / name, scored_corpus / f"{name}.scores")
    assert (scored_corpus / f"{kind}.scores").read_text() == (scored_corpus / "emb.parquet.scores").read_text()


def test_score_all(spkver, scored_corpus):
    done = spkver("score-all", scored_corpus / "emb.parquet", scored_corpus / "all.npz")
    assert "10000 scores" in done.stdout
    embeddings = read_embeddings(scored_corpus / "emb.parquet")
    with np.load(scored_corpus / "all.npz") as found:
        np.testing.assert_allclose(found["scores"], cosine_similarity(embeddings.vectors), atol=1e-6)


def test_missing_device(spkver, scored_corpus):
    arguments = (scored_corpus / "trials", scored_corpus / "emb.parquet", scored_corpus / "out")
    assert "device 'none'" in spkver("score", *arguments, "--device", "none", code=2).stderr
