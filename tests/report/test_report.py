from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pyarrow as pa
import pytest

from spkver.errors import InputError
from spkver.metrics import error_curve, operating_point
from spkver.page import probit
from spkver.report import det
from spkver.report.page import Settings, make_report
from spkver.scoring.evaluation import evaluate
from spkver.trials import Scores, Trials


def system(distance, size=2000, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.random(size) < 0.2
    target[:2] = True, False
    ids = pa.array([f"u{i}" for i in range(size)])
    return Scores(Trials(ids, ids, target), (rng.normal(size=size) + distance * target).astype(np.float32))


def test_directory_has_page_table_numbers_and_drawing(tmp_path):
    systems = {"trained $x$": system(3), "a|b": system(0.2), "perfect": system(50), "wrong": system(-50)}
    out = tmp_path / "deep" / "report"
    report = make_report(systems, title="A test & more", settings=Settings(points=["vox-0.05"]))
    assert report.write(out) == out / "report.html"
    assert sorted(path.name for path in out.iterdir()) == ["det.svg", "report.html", "results.json", "results.md"]
    assert report.rows[0] == ["system", "EER %", "minDCF vox-0.05", "min Cllr", "EER threshold"]
    for row, (name, scores) in zip(report.rows[1:], systems.items()):
        found = evaluate(scores, ["vox-0.05"])
        cost = found.min_dcf["vox-0.05"].cost
        assert row[:3] == [name, f"{100 * found.eer:.2f}", f"{cost:.4f}"]
    written = json.loads((out / "results.json").read_text())
    assert written["systems"]["perfect"]["eer"] == 0 and written["systems"]["wrong"]["eer"] == 1
    lines = (out / "results.md").read_text()
    assert lines.startswith("# A test & more\n\n| system |") and "| a\\|b | " in lines
    assert (out / "report.html").read_text() == report.html


def test_drawing_has_legend_and_plain_colours(tmp_path):
    """It has a legend, and colours that programs without CSS variables know."""
    report = make_report({"one <system>": system(2), "two": system(1)})
    text, eers = report.det, [row[1] for row in report.rows[1:]]
    drawn = ElementTree.fromstring(text)
    words = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {f"one <system> (EER {eers[0]} %)", f"two (EER {eers[1]} %)"} <= set(words)
    assert {"miss rate (%)", "false-alarm rate (%)"} <= set(words)
    assert "var(" not in text and "#0072b2" in text and "#d55e00" in text


def test_same_scores_give_same_files_and_other_files_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    make_report({"one": system(2)}).write(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    make_report({"one": system(2)}).write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert first["notes.txt"] == b"mine"


def test_thinned_curve_of_many_trials_is_small():
    scores = system(2, size=300_000)
    curve = error_curve(scores.values, scores.labels)
    x, y = map(probit, det.thinned(curve, 1e-4, 0.4))
    assert len(x) < 4000 < len(curve.thresholds)
    # the curve at 5 % false alarms, off the drawing and off the counts
    drawn = np.interp(probit(0.05), x[::-1], y[::-1])
    counted = probit(curve.miss[np.argmax(curve.false_alarm <= 0.05)])
    assert drawn == pytest.approx(counted, abs=0.02)


def test_normal_distributions_give_straight_line():
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


def test_missing_labels_name_the_system():
    ids = pa.array(["a", "b"])
    with pytest.raises(InputError, match="one: the scores have no labels"):
        make_report({"one": Scores(Trials(ids, ids), np.float32([0, 1]))})
