from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np

from spkver import audio

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


def test_report_of_a_diarization(spkver, tmp_path):
    from spkver.rttm import Region, Turn, write_turns, write_uem

    audio.write(tmp_path / "talk.flac", np.zeros(8 * 16000, np.float32), 16000)
    write_turns(tmp_path / "ref.rttm", [Turn("talk", 0, 4, "Anna"), Turn("talk", 5, 8, "Bo")])
    write_turns(tmp_path / "hyp.json", [Turn("talk", 0, 4, "1"), Turn("talk", 5, 7, "2")])
    write_uem(tmp_path / "all.uem", [Region("talk", 0, 7.5)])
    files, page = (tmp_path / "ref.rttm", tmp_path / "hyp.json"), tmp_path / "page.html"
    made = ("--uem", tmp_path / "all.uem", "--audio", tmp_path / "talk.flac", "--out", page)
    words = [sys.executable, "-c", WITHOUT_TORCH, "report", "--diarization", *files, *made]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[2].split()[:3] == ["talk", "7.69", "7.69"] and done.stdout.splitlines()[
        -1
    ].startswith(f"{page}: ")
    assert 'src="talk.flac"' in page.read_text() and "Anna" in page.read_text()

    done = spkver("report", "--diarization", files[1], "--embed", *made[2:])
    assert "it contains voice recordings" in done.stdout and 'src="data:audio/mpeg' in page.read_text()
    for words, message in (
        (("--diarization", *files, files[0]), "--diarization takes [REFERENCE] HYPOTHESIS"),
        (("--diarization", files[1], "--uem", files[0]), "--uem needs a reference"),
        (("--diarization", files[1], "--embed"), "--embed needs --audio"),
        (("--diarization", files[1], "--worst", 3), "--worst has no effect with --diarization"),
        (("a=b", "--embed"), "--embed needs --diarization"),
        (("--diarization", files[1], "--audio", files[0]), "ref.rttm: cannot be"),
    ):
        assert message in spkver("report", *words, "--out", page, code=2).stderr
