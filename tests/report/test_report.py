from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pyarrow as pa
import pytest

from spkver.errors import InputError
from spkver.metrics import error_curve, operating_point
from spkver.page import probit
from spkver.report import det
from spkver.report.report import report
from spkver.scoring.evaluation import evaluate
from spkver.trials import Scores, Trials


def system(distance, size=2000, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.random(size) < 0.2
    target[:2] = True, False
    ids = pa.array([f"u{i}" for i in range(size)])
    return Scores(Trials(ids, ids, target), (rng.normal(size=size) + distance * target).astype(np.float32))


def test_everything_is_written(tmp_path):
    systems = {"trained $x$": system(3), "a|b": system(0.2), "perfect": system(50), "wrong": system(-50)}
    out = tmp_path / "deep" / "report"
    table = report(systems, out, title="A test & more", points=["vox-0.05"])
    assert sorted(path.name for path in out.iterdir()) == [
        "det.png",
        "det.svg",
        "results.json",
        "results.md",
        "results.txt",
    ]
    assert (out / "det.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.fromstring((out / "det.svg").read_text()).tag.endswith("svg")
    assert (out / "results.txt").read_text() == f"A test & more\n\n{table}\n"
    lines = table.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["system", "trials", "targets", "EER", "%", "minDCF", "vox-0.05"]
    for line, (name, scores) in zip(lines[2:], systems.items()):
        found = evaluate(scores, ["vox-0.05"])
        cost = found.min_dcf["vox-0.05"].cost
        assert line.split() == [*name.split(), "2000", str(found.targets), f"{100 * found.eer:.2f}", f"{cost:.4f}"]
    written = json.loads((out / "results.json").read_text())
    assert written["systems"]["perfect"]["eer"] == 0 and written["systems"]["wrong"]["eer"] == 1
    assert r"| a\|b | 2000 |" in (out / "results.md").read_text()


def test_same_scores_same_files_and_others_files_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    report({"one": system(2)}, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    report({"one": system(2)}, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert first["notes.txt"] == b"mine"


def test_many_trials_make_a_small_drawing_of_the_same_curve():
    scores = system(2, size=300_000)
    curve = error_curve(scores.values, scores.labels)
    x, y = map(probit, det.thinned(curve, 1e-4, 0.4))
    assert len(x) < 4000 < len(curve.thresholds)
    # the curve at 5 % false alarms, off the drawing and off the counts
    drawn = np.interp(probit(0.05), x[::-1], y[::-1])
    counted = probit(curve.miss[np.argmax(curve.false_alarm <= 0.05)])
    assert drawn == pytest.approx(counted, abs=0.02)


def test_two_normal_distributions_make_a_straight_line():
    scores = system(2, size=300_000)
    x, y = map(probit, det.thinned(error_curve(scores.values, scores.labels), 1e-4, 0.4))
    inside = (x > -2.5) & (x < 0)
    slope, offset = np.polyfit(x[inside], y[inside], 1)
    assert slope == pytest.approx(-1, abs=0.03) and offset == pytest.approx(-2, abs=0.03)


def test_marks():
    scores = system(2)
    curve = error_curve(scores.values, scores.labels)
    point = operating_point("vox-0.01")
    alarm, miss = det.marks_of(curve, point)["cost"]
    assert miss + 99 * alarm == pytest.approx(evaluate(scores).min_dcf["vox-0.01"].cost)


def test_no_labels_names_the_system(tmp_path):
    ids = pa.array(["a", "b"])
    with pytest.raises(InputError, match="two: the scores have no labels"):
        report({"one": system(1), "two": Scores(Trials(ids, ids), np.float32([0, 1]))}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_the_tables_are_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'spkver\[plot\]'"):
        report({"one": system(1)}, tmp_path)
    assert (tmp_path / "results.md").exists()
