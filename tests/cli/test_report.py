from __future__ import annotations

import json
import re
import subprocess
import sys

WITHOUT_TORCH = """
import sys
from spkver.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""


def test_report_of_two_systems(spkver, scored_corpus):
    trials, emb, out = scored_corpus / "trials", scored_corpus / "emb.parquet", scored_corpus / "report"
    spkver("score", trials, emb, scored_corpus / "plain")
    spkver("score", trials, emb, scored_corpus / "centred.parquet", "--mean", emb)
    systems = (f"plain={scored_corpus}/plain", f"centred={scored_corpus}/centred.parquet")
    done = spkver("report", *systems, "--trials", trials, "--out", out, "--title", "Two systems")
    assert "minDCF vox-0.01" in done.stdout
    written = json.loads((out / "results.json").read_text())["systems"]
    assert list(written) == ["plain", "centred"]
    assert (out / "det.svg").stat().st_size > 10_000
    assert "the name 'plain' is used twice" in spkver("report", systems[0], systems[0], "--out", out, code=2).stderr
    assert "expected NAME=SCORES" in spkver("report", scored_corpus / "plain", "--out", out, code=2).stderr

    page = out / "page.html"
    made = ("--data", emb, "--embeddings", emb, "--replicates", "20", "--out", page)
    words = [sys.executable, "-c", WITHOUT_TORCH, "report", *systems, "--trials", trials, *made]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].startswith(f"{page}: ") and done.stdout.endswith("kB\n")
    numbers = json.loads(re.search(r'id="results">(.*?)</script>', page.read_text())[1])
    assert numbers["systems"] == written and set(numbers["comparison"]) == set(written)
    assert not list(out.glob(".*.part"))
