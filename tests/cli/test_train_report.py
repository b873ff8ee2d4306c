from __future__ import annotations

import json
import subprocess
import sys


def test_train_report(spkver, tmp_path):
    lines = [{"step": step, "loss": 1 / step, "accuracy": 0.5, "waiting": 0.3} for step in range(1, 9)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = spkver("train-report", tmp_path, "--json")
    told = json.loads(done.stdout)[str(tmp_path)]
    assert told["step"] == 8 and [finding["rule"] for finding in told["findings"]] == ["starved"]
    done = spkver("train-report", tmp_path, "--out", tmp_path / "page.html")
    assert (
        f"{tmp_path}: step 8, loss 0.125, accuracy 50.0%" in done.stdout and "  starved: Training waited" in done.stdout
    )
    assert "<svg" in (tmp_path / "page.html").read_text()
    assert "must end with .html" in spkver("train-report", tmp_path, "--out", tmp_path / "page.pdf", code=2).stderr
    assert "give an experiment directory" in spkver("train-report", tmp_path / "none", code=2).stderr


def test_train_report_needs_no_torch():
    code = "import sys, spkver.report.training; print({'torch', 'matplotlib', 'scipy'} & sys.modules.keys() or '')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "\n"
