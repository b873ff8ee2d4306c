"""EMA, kept heads and frozen layers: two processes with a split head give the result of one."""

from __future__ import annotations

import pytest
import torch

from spkver import load_model
from spkver.config import load
from spkver.recipe import Recipe, train
from spkver.training.state import checkpoint
from spkver.training.state.head import SavedHead

SPLIT = {"name": "bd_lmcl", "m": 0.1, "head": {"name": "normalised", "split": True, "s": 20}}
SETTINGS = {
    "steps": 4,
    "batch_size": 12,
    "dev_every": 2,
    "precision": "fp32",
    "lr_schedule": "constant",
    "optimizer": {"name": "sgd", "lr": 0.02},
    "timeout_minutes": 1,
}


@pytest.fixture
def runs(write_recipe, run_jobs, tmp_path):
    """By the number of processes: a run, and one that starts from the run of two processes."""
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    outs = {(name, size): tmp_path / f"{name}-{size}" for name in ("first", "second") for size in (1, 2)}
    write_recipe(loss=SPLIT, train=SETTINGS | {"ema": {"decay": 0.5}, "final": "best"}).rename(first)
    tuned = {"freeze": ["network.frame"], "lr_factors": {"loss.head": 3}, "ema": {}}
    start = {"model": str(outs["first", 2] / "model")}
    write_recipe(loss=SPLIT, start=start, train=SETTINGS | tuned).rename(second)
    (told,) = run_jobs(
        [{"processes": 2, "runs": [[str(path), "--out", str(outs[path.stem, 2])] for path in (first, second)]}]
    )
    assert told["codes"] == [[0, 0], [0, 0]], told["said"]
    for path in (first, second):
        train(load(Recipe, path), outs[path.stem, 1], say=lambda text: None)
    return outs


def test_two_processes_equal_one(runs):
    for name in ("first", "second"):
        one, two = (runs[name, size] for size in (1, 2))
        heads = [SavedHead.read(out / "model") for out in (one, two)]
        assert heads[0].classes == heads[1].classes and len(heads[0].classes) == 12
        assert set(heads[0].state) == set(heads[1].state) == {"head.weight"}
        models = [load_model(out / "model").network.state_dict() for out in (one, two)]
        for got, expected in ((heads[1].state, heads[0].state), (models[1], models[0])):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    # the second run starts from the result of the first, and its frozen layers do not change
    began = load_model(runs["first", 2] / "model").network.state_dict()
    last = checkpoint.read(checkpoint.saved(runs["second", 2] / "checkpoints")[-1]).tensors
    for key, tensor in began.items():
        assert torch.equal(last[f"state.network.{key}"], tensor) == key.startswith("frame."), key
    assert "12 of 12 classes with its weights" in (runs["second", 2] / "train.log").read_text()
