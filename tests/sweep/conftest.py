"""A small sweep, and the command in a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def write_sweep(write_recipe: Callable[..., Path], packs: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a sweep of two systems as YAML; keys replace those of the sweep."""

    def write(train: dict[str, Any] | None = None, **keys: Any) -> Path:
        from spkver.packs.reader import Pack
        from spkver.trials import make_trials, write_trials

        dev = Pack.open(packs / "dev")
        write_trials(tmp_path / "dev.txt", make_trials(dev.ids, dev.speakers, nontargets=60, seed=0))
        tree: dict[str, Any] = {
            "recipe": str(write_recipe(train=train or {})),
            "systems": {"NSL": {"set": {"loss.name": "nsl"}}, "LMCL": {"set": {"loss": {"m": 0.1}}}},
            "tests": {"dev": {"source": str(packs / "dev"), "trials": str(tmp_path / "dev.txt"), "seconds": 0.4}},
        } | keys
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        return path

    return write


@pytest.fixture
def start() -> Callable[..., subprocess.Popen]:
    """Start `spkver sweep ARGUMENTS`."""

    def begin(*arguments: object) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        words = [sys.executable, "-m", "spkver", "sweep", *map(str, arguments)]
        return subprocess.Popen(words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return begin
