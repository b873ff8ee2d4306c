from __future__ import annotations

import json


def test_curves_of_two_systems(spkver, tmp_path):
    for name in ("a1", "a2", "b1"):
        (tmp_path / name).mkdir()
        lines = [{"step": step, "dev_eer": 0.1, "loss": 1 / step} for step in (1, 2, 3)]
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    systems = [f"A={tmp_path}/a1", f"A={tmp_path}/a2", f"B={tmp_path}/b1"]
    done = spkver("curves", *systems, "--metric", "dev_eer", "--metric", "loss", "--markdown")
    assert "| A | 2 | 10.00 ± 0.00 | 0.3333 ± 0.0000 |" in done.stdout
    spkver("curves", *systems, "--metric", "loss", "--out", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["loss.svg"]
    assert "no run has the metric" in spkver("curves", *systems, code=2).stderr
