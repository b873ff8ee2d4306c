"""Sweeps from start to end: results, failures, kills, searches."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import time

import pytest
import safetensors.torch
import torch

from spkver.config import load
from spkver.errors import InputError, RunError
from spkver.recipe import Recipe, build
from spkver.sweep import Sweep, dry_run, results_so_far, sweep
from spkver.sweep.plan import TestFiles
from spkver.sweep.schema import TestConfig

SHORT = {"steps": 2, "dev_every": 2, "log_every": 1}


def test_results_compare_systems_and_a_second_start_repeats_nothing(write_sweep, tmp_path):
    systems = {"NSL": {"set": {"loss.name": "nsl"}, "seeds": [1]}, "LMCL": {"set": {"loss.m": 0.1}}}
    config = load(Sweep, write_sweep(train=SHORT, systems=systems, seeds=[1, 2]))
    said, out = [], tmp_path / "out"
    with pytest.raises(InputError, match="no run of the sweep is complete"):
        results_so_far(config, out)
    found = sweep(config, out, jobs=2, say=said.append)
    assert said[0] == "3 runs: 0 complete, 3 left, 2 at a time"
    assert "3 of 3 runs done" in said[-1] and "runs/h, 0:00 left" in said[-1]
    assert {name: len(own) for name, own in found.runs.items()} == {"NSL": 1, "LMCL": 2}
    values = found.tests["dev"].systems["LMCL"]["EER"]
    runs = [out / "runs" / f"LMCL-seed{seed}" / "tests" / "dev.json" for seed in (1, 2)]
    assert list(values.runs) == [json.loads(path.read_text())["results"]["eer"] for path in runs]
    assert values.difference is not None and values.speakers is not None

    lines = list(csv.DictReader((out / "results.csv").open()))
    (line,) = [one for one in lines if (one["test"], one["system"], one["measure"]) == ("dev", "LMCL", "EER")]
    assert float(line["mean"]) == values.mean and line["settings"] == "loss.m=0.1"
    page = (out / "results.html").read_text()
    assert "dev_eer" in (out / "results.txt").read_text() and page.count("<svg") > 3
    assert (out / "logs" / "NSL-seed1.log").read_text().count("model:") == 1

    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    said.clear()
    again = sweep(config, out, jobs=2, say=said.append)
    assert said == ["3 runs: 3 complete, 0 left, 2 at a time"]
    assert again.tests == found.tests == results_so_far(config, out).tests
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")} == before


def test_changed_trial_list_is_scored_again(write_sweep, tmp_path):
    config = load(Sweep, write_sweep(train=SHORT, systems={"NSL": {"set": {"loss.name": "nsl"}}}))
    sweep(config, tmp_path / "out", say=str)
    model = tmp_path / "out" / "runs" / "NSL-seed1" / "model" / "model.safetensors"
    trained = model.stat().st_mtime_ns
    lines = (tmp_path / "dev.txt").read_text().splitlines(keepends=True)
    (tmp_path / "dev.txt").write_text("".join(lines[:-1]))
    found = sweep(config, tmp_path / "out", say=str)
    assert found.tests["dev"].trials == len(lines) - 1
    assert model.stat().st_mtime_ns == trained


def test_a_test_changes_with_its_files(tmp_path):
    for name in ("wav.scp", "segments", "trials"):
        (tmp_path / name).write_text("a\n")
    found = []
    for name in ("trials", "wav.scp", "segments"):
        found.append(TestFiles.find(TestConfig(source=str(tmp_path), trials=str(tmp_path / "trials"))).identity)
        (tmp_path / name).write_text("b\n")
    found.append(TestFiles.find(TestConfig(source=str(tmp_path), trials=str(tmp_path / "trials"))).identity)
    assert all(one != other for one, other in itertools.combinations(found, 2))
    (tmp_path / "wav.scp").unlink()
    with pytest.raises(InputError, match=r"wav.scp: no such file"):
        TestFiles.find(TestConfig(source=str(tmp_path), trials=str(tmp_path / "trials")))


def test_changed_keys_are_refused(write_sweep, tmp_path):
    path = write_sweep(train=SHORT, systems={"NSL": {"set": {"loss.name": "nsl"}}}, tests={})
    sweep(load(Sweep, path), tmp_path / "out", say=str)
    with pytest.raises(InputError, match="the run was started with train"):
        dry_run(load(Sweep, path, ["set.train.steps=3"]), tmp_path / "out")


def test_systems_with_one_seed_start_equal(write_recipe, tmp_path):
    """The same initial weights of the network, and the same crops in each step."""
    trainers = [
        build(load(Recipe, write_recipe(), [f"loss={name}", "seed=5"]), tmp_path, lambda text: None)
        for name in ("softmax", "bd_lmcl", "curricularface", "sub_centre_aam")
    ]
    first, *others = [trainer.learner for trainer in trainers]
    for other in others:
        for name, tensor in first.encoder.network.state_dict().items():
            assert torch.equal(tensor, other.encoder.network.state_dict()[name]), name
        for step in (0, 7):
            one, two = first.inputs.batch(step), other.inputs.batch(step)
            assert torch.equal(one.groups[0][1], two.groups[0][1]) and torch.equal(one.labels, two.labels)


def test_failed_run_is_set_aside(write_sweep, packs, tmp_path):
    systems = {"bad": {"set": {"data.train": str(packs / "later")}}, "good": {}}
    config = load(Sweep, write_sweep(train=SHORT, systems=systems))
    said, out = [], tmp_path / "out"
    with pytest.raises(RunError, match=r"1 of 2 runs failed.*the first: bad-seed1: .*later.*--retry"):
        sweep(config, out, say=said.append)
    assert "later" in (out / "failed" / "bad-seed1.txt").read_text()
    assert (out / "runs" / "good-seed1" / "tests" / "dev.json").is_file()
    assert "1 of 2 runs done, 1 failed" in "\n".join(said)
    assert "bad-seed1" in (out / "results.txt").read_text()

    said.clear()
    with pytest.raises(RunError):
        sweep(config, out, say=said.append)
    assert said[0] == "2 runs: 1 complete, 1 failed earlier (--retry repeats them), 0 left, 1 at a time"
    (packs / "later").symlink_to(packs / "train")
    try:
        found = sweep(config, out, retry=True, say=str)
    finally:
        (packs / "later").unlink()
    assert list(found.runs) == ["bad", "good"] and not found.failed


def test_stopped_sweep_continues(write_sweep, start, tmp_path):
    """A sweep that is killed and then stopped in a training gives the results of an undisturbed one."""
    path = write_sweep(train={"steps": 60, "checkpoint_every": 1, "log_every": 1, "dev_every": 200})
    undisturbed = start(path, "--out", tmp_path / "undisturbed", "--jobs", 2)
    out = tmp_path / "out"
    log = out / "runs" / "NSL-seed1" / "metrics.jsonl"

    def interrupted(number, steps):
        process = start(path, "--out", out)
        while not log.is_file() or len(log.read_bytes().splitlines()) < steps:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        os.kill(process.pid, number)
        said = process.communicate()[1]
        assert not (out / "failed").exists() and not (log.parent / "complete").exists()
        return process.returncode, said

    interrupted(signal.SIGKILL, 3)
    code, said = interrupted(signal.SIGTERM, len(log.read_bytes().splitlines()) + 3)
    assert code == 143
    assert "stopped by SIGTERM with 0 of 2 runs done; the same command continues" in said
    assert "a checkpoint was written" in (out / "logs" / "NSL-seed1.log").read_text()

    last = start(path, "--out", out)
    text, said = last.communicate()
    assert last.returncode == 0, said
    assert (out / "logs" / "NSL-seed1.log").read_text().count("resuming after step") == 2
    assert text == undisturbed.communicate()[0] and "EER" in text
    for run in ("NSL-seed1", "LMCL-seed1"):
        one, two = (folder / "runs" / run / "model" / "model.safetensors" for folder in (out, tmp_path / "undisturbed"))
        one, two = safetensors.torch.load_file(one), safetensors.torch.load_file(two)
        assert all(torch.equal(tensor, two[key]) for key, tensor in one.items())


def test_killed_run_is_named(write_sweep, tmp_path, monkeypatch):
    """A run whose process ends without a reason, for example for lack of memory."""
    monkeypatch.setattr("spkver.sweep.queue.work", _die)
    with pytest.raises(RunError, match="NSL-seed1: ended by SIGKILL, perhaps for lack of memory; see "):
        sweep(load(Sweep, write_sweep()), tmp_path / "out", say=str)


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_search_proposes_runs_and_continues(write_sweep, tmp_path):
    pytest.importorskip("optuna")
    search = {"trials": 3, "space": {"loss.m": [0.0, 0.4], "loss.head.s": [5, 30]}}
    path = write_sweep(
        train=SHORT, systems={"LMCL": {"search": search}, "NSL": {"set": {"loss.name": "nsl"}}}, tests={}
    )
    out, said = tmp_path / "out", []
    dry_run(load(Sweep, path), out, say=said.append)
    assert said[-1].startswith("4 runs (3 of them proposed by searches), about 8 steps left")
    found = sweep(load(Sweep, path, ["systems.LMCL.search.trials=2"]), out, say=str)
    assert list(found.runs) == ["NSL", "LMCL-trial0", "LMCL-trial1"]

    said.clear()
    found = sweep(load(Sweep, path), out, say=said.append)
    assert said[0] == "4 runs: 3 complete, 1 left, 1 at a time"
    assert list(found.runs) == ["NSL", "LMCL-trial0", "LMCL-trial1", "LMCL-trial2"]
    last = {name: runs[0]["dev_eer"][1][-1] for name, runs in found.runs.items() if name != "NSL"}
    assert found.best["LMCL"][1] == min(last.values())
    scales = [load(Recipe, out / "runs" / f"LMCL-trial{n}-seed1" / "config.yaml").loss.head.s for n in range(3)]
    assert all(scale == round(scale) for scale in scales) and len(set(scales)) > 1


def search_of(write_sweep, space, **keys):
    systems = {"LMCL": {"search": {"trials": 2, "space": space}}}
    return write_sweep(train=SHORT, systems=systems, **keys)


def test_runs_of_a_search_are_scored_on_new_and_changed_trial_lists(write_sweep, packs, tmp_path):
    pytest.importorskip("optuna")
    out, said = tmp_path / "out", []
    path = search_of(write_sweep, {"loss.m": [0.0, 0.4]}, tests={})
    sweep(load(Sweep, path), out, say=str)
    test = {"source": str(packs / "dev"), "trials": str(tmp_path / "dev.txt")}
    path = search_of(write_sweep, {"loss.m": [0.0, 0.4]}, tests={"new": test})
    dry_run(load(Sweep, path), out, say=said.append)
    assert said[-1].startswith("2 runs") and "about 4 steps left" in said[-1]
    found = sweep(load(Sweep, path), out, say=str)
    assert list(found.tests["new"].systems) == ["LMCL-trial0", "LMCL-trial1"]

    trials = (tmp_path / "dev.txt").read_text().splitlines(keepends=True)
    (tmp_path / "dev.txt").write_text("".join(trials[: len(trials) // 2]))
    assert sweep(load(Sweep, path), out, say=str).tests["new"].trials == len(trials) // 2


def test_failed_runs_of_a_search_are_done_again(write_sweep, packs, tmp_path):
    pytest.importorskip("optuna")
    later, out = tmp_path / "later", tmp_path / "out"
    keys = {"tests": {}, "set": {"data.train": str(later)}, "seeds": [2**40]}  # Optuna's seeds have 32 bits
    config = load(Sweep, search_of(write_sweep, {"loss.m": [0.0, 0.4]}, **keys))
    for _ in range(2):
        with pytest.raises(RunError, match=r"2 of 2 runs failed.*--retry"):
            sweep(config, out, say=str)
    later.symlink_to(packs / "train")
    found = sweep(config, out, retry=True, say=str)
    assert list(found.runs) == ["LMCL-trial0", "LMCL-trial1"] and not found.failed


def test_a_search_of_other_keys_is_refused(write_sweep, tmp_path):
    pytest.importorskip("optuna")
    out = tmp_path / "out"
    sweep(load(Sweep, search_of(write_sweep, {"loss.m": [0.0, 0.4]}, tests={})), out, say=str)
    for space in ({"loss.head.s": [5, 30]}, {"loss.m": [0.0, 0.4], "loss.head.s": [5, 30]}, {"loss.m": [0, 1]}):
        with pytest.raises(InputError, match=r"a search of loss.m \(numbers\); give the system 'LMCL' another name"):
            sweep(load(Sweep, search_of(write_sweep, space, tests={})), out, say=str)
    found = sweep(load(Sweep, search_of(write_sweep, {"loss.m": [0.1, 0.3]}, tests={})), out, say=str)
    assert len(found.runs) == 2


def test_a_run_that_a_killed_sweep_proposed_in_part_does_not_count(write_sweep, tmp_path):
    optuna = pytest.importorskip("optuna")
    path, out = search_of(write_sweep, {"loss.m": [0.0, 0.4]}, tests={}), tmp_path / "out"
    with pytest.raises(InputError, match="no run of the sweep is complete"):
        results_so_far(load(Sweep, path), out)
    assert not out.exists()
    (out / "searches").mkdir(parents=True)
    backend = optuna.storages.journal.JournalFileBackend(str(out / "searches" / "LMCL.log"))
    optuna.create_study(study_name="LMCL", storage=optuna.storages.JournalStorage(backend)).ask()
    assert list(sweep(load(Sweep, path), out, say=str).runs) == ["LMCL-trial1", "LMCL-trial2"]
