"""A corpus that a tiny network learns in seconds: every speaker is a tone of its own pitch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spkver.config import load
from spkver.features import FrontEndConfig
from spkver.packs import PackWriter, make_features
from spkver.recipe import Recipe

REPOSITORY = Path(__file__).parents[2]
RATE = 8000
FRONT_END = {"sample_rate": RATE, "bins": 24, "high_hz": 3600.0}


def write_pack(path: Path, speakers: range, utterances: int) -> Path:
    with PackWriter(path, kind="audio", sample_rate=RATE) as pack:
        for speaker in speakers:
            for number in range(utterances):
                random = np.random.default_rng([speaker, number])
                time = np.arange(int(RATE * random.uniform(0.45, 0.8))) / RATE
                note = 200 + 190 * (7 * speaker % 17)
                on = (
                    np.sin(2 * np.pi * 6 * time + random.uniform(0, 6)) > 0
                )  # a steady tone would be removed with the mean
                tone = on * (np.sin(2 * np.pi * note * time) + np.sin(2 * np.pi * 1.3 * note * time))
                samples = 5000 * tone + 300 * random.normal(size=len(time))
                pack.add(f"s{speaker}/{number}", f"s{speaker}", f"day{number % 2}", samples.astype("<i2"))
    return path


@pytest.fixture(scope="session")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packs `train` (12 speakers), `dev` (5 others) and `features`, those of train."""
    folder = tmp_path_factory.mktemp("packs")
    write_pack(folder / "train", range(12), 3)
    write_pack(folder / "dev", range(12, 17), 4)
    make_features(folder / "train", folder / "features", FrontEndConfig(**FRONT_END))
    return folder


@pytest.fixture
def write_recipe(packs: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe as YAML: `write_recipe(train={"steps": 4})`; keys override those of a small recipe."""

    def write(**keys: Any) -> Path:
        tree: dict[str, Any] = {
            "data": {"train": str(packs / "train"), "dev": str(packs / "dev"), "crop_seconds": 0.4},
            "front_end": FRONT_END,
            "model": {"name": "xvector", "channels": 8, "pooled_channels": 16, "dim": 8},
            "loss": "lmcl",
            "train": {
                "steps": 8,
                "batch_size": 8,
                "log_every": 2,
                "dev_every": 4,
                "checkpoint_every": 3,
                "device": "cpu",
                "threads": 1,
            },
        }
        for key, value in keys.items():
            tree[key] = {**tree[key], **value} if isinstance(tree.get(key), dict) and key != "model" else value
        path = tmp_path / "recipe" / "recipe.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(tree))
        return path

    return write


@pytest.fixture
def recipe(write_recipe: Callable[..., Path]) -> Callable[..., Recipe]:
    """The recipe of `write_recipe`, loaded."""
    return lambda **keys: load(Recipe, write_recipe(**keys))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The path of a new experiment directory."""
    return tmp_path / "out"


@pytest.fixture
def killed(tmp_path: Path) -> Callable[[], None]:
    """Copy tmp_path/a, a run of 6 steps with a checkpoint every 2, to tmp_path/b, as it was after the first one."""

    def make() -> None:
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        for name in ("complete", "model", "checkpoints/step-00000006", "checkpoints/step-00000004"):
            path = tmp_path / "b" / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return make


@pytest.fixture(scope="session")
def run_jobs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[dict]], list[dict]]:
    """Run jobs with `worker.py` and return their results."""

    def run(jobs: list[dict]) -> list[dict]:
        path = tmp_path_factory.mktemp("jobs") / "jobs.json"
        path.write_text(json.dumps(jobs))
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), str(path)]
        done = subprocess.run(command, env=environment, check=True, timeout=240, stdout=subprocess.PIPE, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run
