from __future__ import annotations

import json


def test_compare_runs_of_two_systems(spkver, scored_corpus):
    trials, emb, speakers = scored_corpus / "trials", scored_corpus / "emb.parquet", scored_corpus / "utt2spk"
    speakers.write_text("".join(f"s{i % 10}/{i:03}.wav s{i % 10}\n" for i in range(100)))
    spkver("score", trials, emb, scored_corpus / "plain")
    spkver("score", trials, emb, scored_corpus / "centred", "--mean", emb)
    systems = [f"plain={scored_corpus}/plain", f"plain={scored_corpus}/centred", f"centred={scored_corpus}/centred"]
    out = scored_corpus / "compared.json"
    options = ["--trials", trials, "--speakers", speakers, "--replicates", 50, "--point", "vox-0.05"]
    done = spkver("compare", *systems, *options, "--out", out)
    assert "difference from plain" in done.stdout and len(done.stdout.splitlines()) == 2 + 2 * 2
    found = json.loads(out.read_text())["systems"]
    assert len(found["plain"]["EER"]["runs"]) == 2 and found["plain"]["EER"]["seeds"] is not None
    assert "| system" in spkver("compare", *systems, *options, "--markdown").stdout
    assert "expected NAME=SCORES" in spkver("compare", trials, "--trials", trials, code=2).stderr
    speakers.write_text("s0/000.wav s0\n")
    assert "is not known" in spkver("compare", *systems, *options, code=2).stderr
