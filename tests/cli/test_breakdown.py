from __future__ import annotations

import json

import numpy as np
import pytest

from spkver.trials import Scores, read_trials, write_scores


@pytest.fixture
def corpus(scored_corpus):
    listed = read_trials(scored_corpus / "trials")
    values = np.random.default_rng(0).normal(size=len(listed)) + 2 * listed.target
    write_scores(scored_corpus / "scores", Scores(listed, values.astype(np.float32)))
    ids = [f"s{i % 10}/{i:03}.wav" for i in range(100)]
    lines = [f"{name},{name[:2]},{'f' if int(name[1]) < 5 else 'm'},{i}" for i, name in enumerate(ids)]
    (scored_corpus / "t.csv").write_text("\n".join(["id,speaker,gender,seconds", *lines]) + "\n")
    (scored_corpus / "utt2spk").write_text("".join(f"{name} {name[:2]}\n" for name in ids))
    return scored_corpus


def test_breakdown(spkver, corpus):
    out = corpus / "rows.json"
    done = spkver("breakdown", corpus / "scores", corpus / "t.csv", "--by", "gender", "--out", out)
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["f", "f", "m"]
    assert sum(row["targets"] for row in json.loads(out.read_text())) == 450
    done = spkver("breakdown", corpus / "scores", corpus / "t.csv", "--by", "seconds", "--edges", "10,50", "--json")
    assert json.loads(done.stdout)[0]["name"] == "under 10"
    done = spkver("breakdown", corpus / "scores", corpus / "t.csv", "--trials", corpus / "trials", "--worst", "3")
    assert len(done.stdout.splitlines()) == 5
    assert "no column 'sex'" in spkver("breakdown", corpus / "scores", corpus / "t.csv", "--by", "sex", code=2).stderr


def test_check_trials(spkver, corpus):
    done = spkver("check-trials", corpus / "trials", "--speakers", corpus / "utt2spk")
    assert "950 trials, no problems" in done.stdout
    done = spkver(
        "check-trials", corpus / "trials", "--speakers", corpus / "utt2spk", "--train-speakers", corpus / "utt2spk",
        "--point", "vox-0.01",
    )  # fmt: skip
    assert "10 of 10 speakers, first 's0'" in done.stdout and "too few for vox-0.01" in done.stdout
