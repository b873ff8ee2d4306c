"""Small recipes, and runs in other processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spkver.config import load
from spkver.recipe import Recipe

REPOSITORY = Path(__file__).parents[2]


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
