from __future__ import annotations

import pytest


def test_table_of_counts(spkver):
    lines = spkver("models", "resnet34", "cam++", "--count").stdout.splitlines()
    assert lines[2].split() == ["resnet34", "256", "6.63", "6.63", "WeSpeaker", "4.53"]
    assert lines[3].split()[0] == "cam++" and len(lines) == 4


def test_speed_in_markdown(spkver):
    done = spkver("models", "xvector", "--seconds", "0.5", "--batch", "2", "--device", "cpu", "--markdown")
    head, _, row = done.stdout.splitlines()
    assert "embeddings/s (CPU, threads: " in head and "eager, 2 at a time)" in head
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "xvector" and cells[3] == "" and float(cells[-1]) > 0


def test_onnxruntime(spkver):
    pytest.importorskip("onnxruntime")
    names = [word for name in ("eager", "onnxruntime", "onnxruntime-int8") for word in ("--runtime", name)]
    head, _, row = spkver("models", "xvector", "--seconds", "0.5", "--device", "cpu", *names).stdout.splitlines()
    assert "onnxruntime-int8" in head and all(float(cell) > 0 for cell in row.split()[-3:])


def test_unknown_name(spkver):
    done = spkver("models", "ecapa", code=2)
    assert "unknown model 'ecapa'; did you mean 'ecapa_tdnn" in done.stderr
