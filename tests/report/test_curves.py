from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from scipy import stats

from spkver.errors import InputError
from spkver.report.curves import last_values, read_curves
from spkver.report.plots import write_training


@pytest.fixture
def run(tmp_path):
    """Write the log of a run; returns its directory."""

    def write(name, lines):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return tmp_path / name

    return write


def test_read_curves(run):
    curves = read_curves(run("a", [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0}, {"step": 20, "dev_eer": 0.1}]))
    np.testing.assert_array_equal(curves["loss"], [[10, 20], [2, 1]])
    np.testing.assert_array_equal(curves["dev_eer"], [[20], [0.1]])


def test_table_has_mean_and_interval_over_runs(run):
    rates = [0.05, 0.06, 0.08]
    runs = [read_curves(run(str(i), [{"step": 1, "dev_eer": rate, "loss": 1.5}])) for i, rate in enumerate(rates)]
    head, many, one, none = last_values({"many": runs, "one": runs[:1], "none": [{}]}, ["dev_eer", "loss"])
    assert head == ["system", "runs", "dev_eer %", "loss"]
    found = stats.ttest_1samp(rates, 0).confidence_interval(0.95)
    assert many == ["many", "3", f"6.33 ± {50 * (found.high - found.low):.2f}", "1.5000 ± 0.0000"]
    assert one == ["one", "1", "5.00", "1.5000"] and none == ["none", "1", "", ""]


def test_drawings_of_runs_of_different_lengths(run, tmp_path):
    runs = [
        read_curves(run(str(n), [{"step": 10 * i, "boundary_share": 1 / (n + i)} for i in range(1, n)])) for n in (4, 9)
    ]
    write_training({"<x>": runs, "none": [{}]}, ["boundary_share"], tmp_path / "out")
    drawn = ElementTree.fromstring((tmp_path / "out" / "boundary_share.svg").read_text())
    words = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"boundary share (%)", "step", "<x>", "none"} <= set(words)
    with pytest.raises(InputError, match="no run has the metric 'los'"):
        write_training({"<x>": runs}, ["los"], tmp_path / "out")


def test_invalid_logs_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="give an experiment directory"):
        read_curves(tmp_path / "none")
    with pytest.raises(InputError, match=r"metrics.jsonl:2: expected an object"):
        read_curves(run("a", [{"step": 1, "loss": 1}, ["step"]]))
    wrong = [{"loss": 1}, {"step": "x"}, {"step": 1, "loss": []}, {"step": 1, "loss": 10**400}, {"step": 1e999}]
    for number, line in enumerate(wrong):
        with pytest.raises(InputError, match=r"metrics.jsonl:2: not a line of a training log"):
            read_curves(run(f"wrong-{number}", [{"step": 1, "loss": 1}, line]))
    folder = run("latin", [{"step": 1, "loss": 1}])
    (folder / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 2, "\xe9": 1}\n')
    with pytest.raises(InputError, match=r"metrics.jsonl:2: not UTF-8 text"):
        read_curves(folder)
    with pytest.raises(InputError, match=r"no run has the metric 'los'.*loss"):
        last_values({"b": [read_curves(run("b", [{"step": 1, "loss": 1}]))]}, ["los"])
