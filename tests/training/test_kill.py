"""A run that is killed repeatedly, with one process or two, gives the result of an undisturbed run."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from spkver.training.monitoring.log import TIMING

STEPS = 24


def records(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in one.items() if key not in TIMING} for one in lines]


@pytest.fixture
def arguments(write_recipe, tmp_path):
    """The arguments of a run with all kinds of state, and a checkpoint at every step."""
    # a checkpoint at every step, so that a kill is likely to interrupt one
    settings = {"steps": STEPS, "log_every": 1, "dev_every": 5, "checkpoint_every": 1, "optimizer": "adamw", "ema": {}}
    recipe = write_recipe(
        loss={"name": "bd_lmcl", "head": {"split": True}},
        augment={"features": ["spec_augment"], "waveform": ["noise"]},
        front_end={"dither": 1.0},
        train=settings | {"final": "best", "timeout_minutes": 1},
    )
    return lambda name: [str(recipe), "--out", str(tmp_path / name), "--resume"]


@pytest.mark.parametrize(("processes", "kills"), [(1, 8), (2, 2)])
def test_run_killed_repeatedly_gives_the_same_result(arguments, run_jobs, tmp_path, processes, kills):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    random = np.random.default_rng()
    jobs = [{"processes": processes, "runs": [arguments("undisturbed")]}]
    for kill in range(kills):
        whom = [kill % processes] if kill % 2 else list(range(processes))  # one process, or all of them
        jobs.append(
            {
                "processes": processes,
                "runs": [arguments("killed")],
                "signal": "SIGKILL",
                "grows": str(killed / "metrics.jsonl"),
                "lines": 3 if kill == 0 else 1,  # the first kill comes after a checkpoint, which follows the log
                "after": random.uniform(0, 0.1),
                "ranks": whom,
            }
        )
    jobs.append({"processes": processes, "runs": [arguments("killed")]})
    first, *told, last = run_jobs(jobs)
    assert first["codes"] == last["codes"] == [[0]] * processes
    done = [[0]] * processes  # on a fast machine, the run may end before the last kill
    landed = [one for one in told if one["codes"] != done]
    for one in landed:
        assert [-9] in one["codes"]
        assert [0] not in one["codes"]
        # the remaining processes report the lost connection in one line, besides PyTorch's messages
        said = "".join(one["said"])
        assert said.count("error:") == ([1] in one["codes"]) and "Traceback" not in said, said
    assert (killed / "train.log").read_text().count("resuming after step") >= 1
    assert 1 <= len(landed) <= len((killed / "starts.jsonl").read_text().splitlines()) <= kills + 1

    for name in ("model/model.safetensors", "model/config.yaml", "model/card.md", "model-head.safetensors"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()
    assert records(killed) == records(undisturbed)
    assert [one["step"] for one in records(killed) if "loss" in one] == list(range(1, STEPS + 1))
    last = [folder / "checkpoints" / f"step-{STEPS:08d}" for folder in (undisturbed, killed)]
    for rank in range(processes):
        one, other = ((path / f"rank-{rank}.safetensors").read_bytes() for path in last)
        assert one == other
    assert not list(killed.rglob(".*")), "something half written is left"


@pytest.mark.parametrize(("processes", "name"), [(1, "SIGTERM"), (2, "SIGUSR1")])
def test_signal_stops_the_run_after_a_checkpoint(arguments, run_jobs, tmp_path, processes, name):
    """A checkpoint at the next step, exit code 143, and the run can be resumed."""
    out = tmp_path / "out"
    job = {"processes": processes, "runs": [[*arguments("out"), "train.checkpoint_every=1000"]]}
    stop = {"signal": name, "grows": str(out / "metrics.jsonl"), "lines": 1, "after": 0.02, "ranks": [processes - 1]}
    stopped, resumed = run_jobs([job | stop, job])
    assert stopped["codes"] == [[143]] * processes
    (line,) = "".join(stopped["said"]).splitlines()
    assert f"of {STEPS}; a checkpoint was written: continue with --resume" in line
    assert (name if processes == 1 else "a signal") in line
    step = int(line.split("step ")[1].split()[0])
    assert resumed["codes"] == [[0]] * processes
    assert f"resuming after step {step} of {STEPS}" in (out / "train.log").read_text()
    assert (out / "complete").exists()


def test_failing_process_gives_the_reason(arguments, run_jobs, tmp_path):
    """Not the main process, and not at a point where the others check for errors."""
    (told,) = run_jobs([{"processes": 2, "runs": [arguments("out")], "fails": 1}])
    assert told["codes"] == [[1], [1]]
    first, second = ([line for line in said.splitlines() if "rror" in line] for said in told["said"])
    assert first == [] and len(second) == 1
    assert re.search("process 1 of 2 on .*Input/output error.*the shard", second[0])
    kept = [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()]
    assert kept and all(name.startswith("step-") for name in kept)
