"""The sweep file, and the runs that it describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from spkver.config import load, read_yaml
from spkver.errors import InputError
from spkver.sweep import Sweep, dry_run
from spkver.sweep.plan import grid_runs
from spkver.sweep.schema import overrides

ROOT = Path(__file__).parents[2]
BAD = {
    "unknown key": ({"seed": [1]}, "unknown key 'seed'; did you mean 'seeds'?"),
    "name of a system": ({"systems": {"a/b": {}}}, "the name 'a/b' is used for files"),
    "limits": ({"systems": {"a": {"search": {"trials": 2, "space": {"loss.m": [0.4, 0.1]}}}}}, "0.4 is not below"),
    "point": ({"points": ["sre9999"]}, "sre9999"),
    "unknown key of the recipe": ({"systems": {"A": {"set": {"loss.mm": 1}}}}, "system A: override 'loss.mm=1'"),
    "unknown name": ({"systems": {"A": {"set": {"loss.name": "lmlc"}}}}, "did you mean 'lmcl'?"),
    "two of a name": (
        {"systems": {"A": {"grid": {"loss.m": [0.1]}}, "A-m0.1": {"set": {"loss.m": 0.2}}}},
        "two runs are named A-m0.1-seed1",
    ),
    "grid and search": (
        {"systems": {"A": {"grid": {"loss.m": [0.1]}, "search": {"trials": 1, "space": {"loss.m": [0.1, 0.2]}}}}},
        "system A: give a grid or a search",
    ),
    "grid of all and search": (
        {"grid": {"loss.m": [0.1]}, "systems": {"A": {"search": {"trials": 1, "space": {"loss.m": [0.1, 0.2]}}}}},
        "system A: give a grid or a search",
    ),
    "empty grid": ({"grid": {"loss.m": []}}, "sweep.yaml:16: grid.loss.m: expected at least one item"),
    "key of a system": (
        {"systems": {"BD-LMCL": {"sett": {"loss.m": 1}}}},
        "sweep.yaml:4: systems.BD-LMCL: unknown key 'sett'; did you mean 'set'?",
    ),
    "missing list": ({"tests": {"t": {"source": "nowhere", "trials": "none.txt"}}}, "nowhere/wav.scp: no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistake_is_named(write_sweep, tmp_path, case):
    keys, message = BAD[case]
    with pytest.raises(InputError) as caught:
        dry_run(load(Sweep, write_sweep(**keys)), tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_values_become_overrides():
    keys = {"loss.m": "0.1", "loss": {"head": {"s": "20"}}, "data.dev": None, "augment.speeds": ["1.0", "0.9"]}
    assert list(overrides(keys)) == ["loss.m=0.1", "loss.head.s=20", "data.dev=null", 'augment.speeds=["1.0", "0.9"]']
    assert list(overrides({"a": "null", "b": "x: y"})) == ["a=null", 'b="x: y"']


def test_every_combination_of_grids_and_seeds_is_a_run(write_sweep, tmp_path):
    systems = {
        "A": {"grid": {"loss.m": [0.1, 0.2], "loss.head.s": [10, 20]}, "seeds": [3]},
        "B": {"set": {"loss.name": "nsl"}},
        "C": {},
    }
    sweep = load(Sweep, write_sweep(systems=systems, seeds=[1, 2], set={"train.batch_size": 4}))
    runs = grid_runs(sweep, tmp_path, {})
    names = ["A-m0.1-s10-seed3", "A-m0.1-s20-seed3", "A-m0.2-s10-seed3", "A-m0.2-s20-seed3"]
    names += ["B-seed1", "C-seed1", "B-seed2", "C-seed2"]
    assert [run.name for run in runs] == names, "the first seeds of all systems come first"
    assert [run.recipe.seed for run in runs] == [3, 3, 3, 3, 1, 1, 2, 2]
    assert {run.recipe.train.batch_size for run in runs} == {4}
    assert runs[1].recipe.loss.m == 0.1 and runs[1].recipe.loss.head.s == 20


def test_keys_on_the_command_line_override_the_file(write_sweep, tmp_path):
    sweep = load(Sweep, write_sweep(set={"train.steps": 5}), ["set.train.steps=3", "seeds=[7]"])
    runs = grid_runs(sweep, tmp_path, {})
    assert {(run.seed, run.recipe.train.steps) for run in runs} == {(7, 3)}


COUNTS = {"choice": 40, "boundary": 26, "final": 32, "tune": 67, "systems": 55, "part": 18}


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/**/conf/*.yaml")), ids=lambda path: path.stem)
def test_sweep_files_of_the_recipes_give_runs(path, tmp_path, monkeypatch):
    """A wrong key in one of them would be found only after the data is prepared."""
    monkeypatch.chdir(ROOT)
    if "systems:" not in path.read_text():
        pytest.skip("a config, not a sweep")
    lists = [f"tests.{name}.trials=t" for name in read_yaml(path).get("tests", {})]
    runs = grid_runs(load(Sweep, path, lists), tmp_path, {})
    assert len(runs) == COUNTS[path.stem]


def test_dry_run_prints_the_plan(write_sweep, tmp_path):
    said = []
    dry_run(load(Sweep, write_sweep(seeds=[1, 2])), tmp_path / "out", say=said.append)
    assert said[0].split() == ["to", "do", "NSL-seed1:", "loss.name=nsl"]
    assert said[-1] == "4 runs, about 32 steps left; 1 trial list after each"
    assert not (tmp_path / "out").exists()
