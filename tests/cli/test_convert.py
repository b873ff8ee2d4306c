from __future__ import annotations

import numpy as np

from spkver.embeddings import read_embeddings


def test_convert_there_and_back(spkver, scored_corpus):
    folder = scored_corpus / "kaldi files"
    done = spkver("convert", scored_corpus / "emb.parquet", folder / "x.scp", "--text")
    assert "100 embeddings of 8 values" in done.stdout
    assert (folder / "x.ark").read_bytes().startswith(b"s0/000.wav  [ ")
    spkver("convert", folder / "x.scp", scored_corpus / "back.parquet")
    one, other = (read_embeddings(scored_corpus / name) for name in ("emb.parquet", "back.parquet"))
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.vectors, other.vectors)


def test_int8_and_means_per_speaker(spkver, scored_corpus):
    done = spkver("convert", scored_corpus / "emb.parquet", scored_corpus / "x.npz", "--dtype", "int8")
    assert float(done.stdout.split("cosine to the embeddings read: ")[1]) > 0.999
    done = spkver("convert", scored_corpus / "emb.parquet", scored_corpus / "s.jsonl", "--per", "speaker")
    assert "10 embeddings of 8 values" in done.stdout
    done = spkver("convert", scored_corpus / "x.npz", scored_corpus / "x.npy", "--dtype", "int8", code=2)
    assert "cannot hold int8" in done.stderr


def test_bad_input(spkver, scored_corpus):
    emb = scored_corpus / "emb.parquet"
    assert "ending in .parquet, .npz" in spkver("convert", emb, scored_corpus / "x.h4", code=2).stderr
    emb.write_bytes(emb.read_bytes()[:1000])
    assert "not an embeddings file" in spkver("convert", emb, scored_corpus / "x.npz", code=2).stderr
    assert not (scored_corpus / "x.npz").exists()
