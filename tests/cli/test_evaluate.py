from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spkver import metrics
from spkver.trials import Scores, Trials, read_scores, read_trials, write_scores


@pytest.fixture
def score_file(scored_corpus):
    listed = read_trials(scored_corpus / "trials")
    rng = np.random.default_rng(0)
    values = (rng.normal(size=len(listed)) + 2 * listed.target).astype(np.float32)
    write_scores(scored_corpus / "scores", Scores(listed, values))
    return scored_corpus / "scores"


def test_numbers_do_not_depend_on_order_of_trials(spkver, score_file):
    own = read_scores(score_file)
    lines = (score_file.parent / "trials").read_text().splitlines()
    shuffled = score_file.parent / "shuffled"
    shuffled.write_text("\n".join(np.random.default_rng(1).permutation(lines)) + "\n")
    plain = spkver("evaluate", score_file).stdout
    assert spkver("evaluate", score_file, "--trials", shuffled).stdout == plain
    assert f"{100 * metrics.eer(own.values, own.trials.target):.2f} %" in plain
    assert "minDCF vox-0.01" in plain and "minDCF vox-0.05" in plain


def test_json(spkver, score_file):
    out = score_file.parent / "deep" / "metrics.json"
    done = spkver("evaluate", score_file, "--json", "--out", out, "--point", "sre10")
    assert json.loads(done.stdout) == json.loads(out.read_text())
    own = read_scores(score_file)
    assert json.loads(done.stdout)["eer"] == metrics.eer(own.values, own.trials.target)
    assert list(json.loads(done.stdout)["min_dcf"]) == ["sre10"]


def test_warnings(spkver, score_file):
    score_file.write_text(score_file.read_text() + "a a 0.5 target\n")
    assert "warning: 1 of 951 trials, first 'a a', of a recording with itself" in spkver("evaluate", score_file).stderr


def test_bad_input(spkver, score_file):
    trials = score_file.parent / "trials"
    short = score_file.parent / "short"
    short.write_text("".join(trials.read_text().splitlines(keepends=True)[1:]))
    done = spkver("evaluate", score_file, "--trials", short, code=2)
    assert f"1 of 950 trials of {score_file} are not in {short}" in done.stderr
    assert "did you mean 'vox-0.01'" in spkver("evaluate", score_file, "--point", "vox-0.1", code=2).stderr
    assert "none" in spkver("evaluate", score_file.parent / "none", code=2).stderr
    only = score_file.parent / "only"
    only.write_text("a b 0.5 target\n")
    assert "no non-target" in spkver("evaluate", only, code=2).stderr
    only.write_text("a b 0.5\n")
    assert "no labels" in spkver("evaluate", only, code=2).stderr


@pytest.mark.parametrize("command", ["score", "evaluate", "compare", "data"])
def test_start_imports_no_heavy_packages(command):
    heavy = {"torch", "torchaudio", "speechbrain", "librosa", "matplotlib", "scipy", "sklearn"}
    code = f"import spkver.cli.{command}, sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_far_llr_and_curve(spkver, score_file):
    curve = score_file.parent / "curve.csv"
    done = spkver("evaluate", score_file, "--far", "0.05", "--llr", "--point", "sre16", "--curve", curve)
    assert "FRR at FAR 5 %" in done.stdout and "actDCF sre16" in done.stdout and "Cllr" in done.stdout
    assert curve.read_text().startswith("threshold,false_alarm,miss\n")


def test_weights(spkver, score_file, tmp_path):
    own = read_scores(score_file)
    weights = np.random.default_rng(0).integers(1, 5, len(own)).astype(np.float32) / 4
    write_scores(tmp_path / "w", Scores(Trials(own.trials.enrol, own.trials.test), weights))
    expected = metrics.eer(own.values, own.labels, weights)
    found = json.loads(spkver("evaluate", score_file, "--weights", tmp_path / "w", "--json").stdout)
    assert found["eer"] == pytest.approx(expected) and found["trials"] == len(own)
    assert found["targets"] == pytest.approx(weights[own.labels].sum())
    enrol, test = (side.cast(pa.string()) for side in (own.trials.enrol, own.trials.test))
    table = pa.table({"test": test, "enrol": enrol, "w": weights})
    pq.write_table(table.take(np.random.default_rng(1).permutation(len(own))), tmp_path / "w.parquet")
    assert (
        json.loads(spkver("evaluate", score_file, "--weights", f"{tmp_path / 'w.parquet'}:w", "--json").stdout) == found
    )
    assert "no column 'v'" in spkver("evaluate", score_file, "--weights", f"{tmp_path / 'w.parquet'}:v", code=2).stderr
    assert (
        "a text list has no column 'w'"
        in spkver("evaluate", score_file, "--weights", f"{tmp_path / 'w'}:w", code=2).stderr
    )
    (tmp_path / "w").write_text((tmp_path / "w").read_text().replace(" 0.25", " -0.25"))
    assert (
        "weights must be finite numbers" in spkver("evaluate", score_file, "--weights", tmp_path / "w", code=2).stderr
    )
