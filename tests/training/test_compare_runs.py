"""tests/benchmarks/compare_runs.py compares the numbers logged by two runs."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

main = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "compare_runs.py"))["main"]
LINE = {"step": 2, "loss": 1.5, "accuracy": 0.25, "waiting": 0.5, "utterances_per_second": 9.0}


@pytest.fixture
def compare(tmp_path, capsys):
    def run(one, other):
        for name, lines in (("a", one), ("b", other)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return main([str(tmp_path / "a"), str(tmp_path / "b")]), capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("values", [{}, {"waiting": 0.1, "utterances_per_second": 1.0}, {"loss": float("nan")}])
def test_equal_runs(compare, values):
    one = LINE | ({"loss": float("nan")} if "loss" in values else {})
    assert compare([one, LINE | {"step": 4}], [one | values, LINE | {"step": 4}]) == (0, ["the same"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"loss": 1.5000001}, "loss: differs at 1 of 2 steps, from step 4, by 1e-07"),
        ({"loss": float("nan")}, "loss: differs at 1 of 2 steps, from step 4, by nan"),
        ({"dev_eer": 0.1}, "dev_eer: in one run only"),
    ],
)
def test_differences_are_named(compare, values, said):
    assert compare([LINE, LINE | {"step": 4}], [LINE, LINE | {"step": 4} | values]) == (1, [said])


def test_runs_with_different_steps(compare):
    code, said = compare([LINE], [LINE | {"step": 3}])
    assert (code, said) == (1, ["accuracy: logged at other steps", "loss: logged at other steps"])


def test_missing_run(compare, capsys, tmp_path):
    assert main([str(tmp_path), str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("compare_runs: error: ")
