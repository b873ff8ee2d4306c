"""spkver cluster."""

from __future__ import annotations

from spkver.embeddings import read_embeddings


def test_groups_become_labels(spkver, scored_corpus):
    out = scored_corpus / "labels"
    done = spkver("cluster", scored_corpus / "emb.parquet", out, "--speakers", "10")
    assert done.stdout.startswith(f"{out}: 100 recordings, 10 speakers\n")
    assert "% of the pairs within a group are one speaker's" in done.stdout
    lines = [line.split() for line in out.read_text().splitlines()]
    assert [line[0] for line in lines] == read_embeddings(scored_corpus / "emb.parquet").ids
    assert {line[1] for line in lines} == {f"g{number}" for number in range(10)}


def test_more_groups_than_recordings_is_one_line(spkver, scored_corpus):
    out = scored_corpus / "labels"
    done = spkver("cluster", scored_corpus / "emb.parquet", out, "--speakers", "101", code=2)
    assert "100 embeddings cannot be grouped into 101 speakers" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not out.exists()
