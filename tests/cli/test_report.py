from __future__ import annotations

import json


def test_report_of_two_systems(spkver, scored_corpus):
    trials, emb, out = scored_corpus / "trials", scored_corpus / "emb.parquet", scored_corpus / "report"
    spkver("score", trials, emb, scored_corpus / "plain")
    spkver("score", trials, emb, scored_corpus / "centred.parquet", "--mean", emb)
    systems = (f"plain={scored_corpus}/plain", f"centred={scored_corpus}/centred.parquet")
    done = spkver("report", *systems, "--trials", trials, "--out", out, "--title", "Two systems")
    assert "minDCF vox-0.01" in done.stdout
    assert list(json.loads((out / "results.json").read_text())["systems"]) == ["plain", "centred"]
    assert (out / "det.png").stat().st_size > 10_000
    assert "each name once" in spkver("report", systems[0], systems[0], "--out", out, code=2).stderr
    assert "expected NAME=SCORES" in spkver("report", scored_corpus / "plain", "--out", out, code=2).stderr
