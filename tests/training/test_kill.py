"""A run that is killed at any moment, again and again, ends as if nothing had been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np

from spkver.config import load
from spkver.recipe import Recipe, train

STEPS = 50


def records(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in one.items() if k not in ("utterances_per_second", "waiting")} for one in lines]


def kill_after(recipe, out, lines):
    """Start or resume the run as a process of its own, and kill it soon after its metrics have so many lines."""
    command = [sys.executable, "-m", "spkver", "train", recipe, "--out", out, "--resume"]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    metrics = out / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.read_bytes().count(b"\n") >= lines):
        time.sleep(0.01)
    time.sleep(np.random.default_rng().uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_killed_and_resumed(write_recipe, tmp_path):
    # a checkpoint at every step: a kill is likely to fall into the writing of one
    settings = {"steps": STEPS, "log_every": 1, "dev_every": 5, "checkpoint_every": 1, "optimizer": "adamw"}
    recipe = write_recipe(train=settings | {"final": "best"}, augment={"features": ["spec_augment"]})
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    train(load(Recipe, recipe), undisturbed, say=lambda text: None)
    told = []
    for lines in (8, 20, 34):
        kill_after(recipe, killed, lines)
    train(load(Recipe, recipe), killed, resume=True, say=told.append)
    assert any(text.startswith("resuming after step") for text in told)

    for name in ("model.safetensors", "config.yaml", "card.md"):
        assert (killed / "model" / name).read_bytes() == (undisturbed / "model" / name).read_bytes()
    assert records(killed) == records(undisturbed)
    assert [one["step"] for one in records(killed) if "loss" in one] == list(range(1, STEPS + 1))
    assert not list(killed.rglob(".*")), "something half written is left"
