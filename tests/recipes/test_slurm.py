"""Scripts of recipes/slurm, without Slurm: the tasks of an array make the parts of an output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spkver.embeddings import Embeddings, write_embeddings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with embeddings, a trial list and the command `spkver`."""
    ids = [f"u{row:02}" for row in range(30)]
    vectors = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    write_embeddings(tmp_path / "e.parquet", Embeddings(ids, vectors))
    (tmp_path / "trials.txt").write_text("".join(f"{one} {other}\n" for one in ids for other in ids))
    (tmp_path / "spkver").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m spkver "$@"\n')
    (tmp_path / "spkver").chmod(0o755)
    return tmp_path


def task(folder: Path, number: int, *command: str) -> subprocess.CompletedProcess[str]:
    """A task of an array from 3 to 4."""
    array = {"SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_ID": str(number)}
    path = f"{folder}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", ROOT / "recipes/slurm/array.sbatch", *command],
        cwd=folder,
        env=os.environ | array | {"SLURM_CPUS_PER_TASK": "2", "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "command", ["score trials.txt e.parquet", "score-all e.parquet", "score-all --top 3 e.parquet"]
)
def test_tasks_of_an_array_make_an_output(folder: Path, command: str) -> None:
    for number in (4, 3):
        done = task(folder, number, *command.split(), "parts.csv")
        assert done.returncode == 0, done.stderr
    assert not (folder / "parts.csv").exists()
    for words in ("gather parts.csv", f"{command} whole.csv"):
        subprocess.run([folder / "spkver", *words.split()], cwd=folder, check=True, capture_output=True)
    assert (folder / "parts.csv").read_bytes() == (folder / "whole.csv").read_bytes()


def test_an_array_without_a_command_says_how_to_call_it(folder: Path) -> None:
    done = task(folder, 3, "pack")
    assert done.returncode == 2 and "usage: sbatch --array=1-N array.sbatch COMMAND" in done.stderr


@pytest.mark.parametrize("command", ["pack", "features", "extract", "score", "score-all"])
def test_commands_take_the_options_of_the_script(command: str) -> None:
    from spkver import cli

    found = cli.root.get_command(None, command)  # type: ignore[arg-type]
    assert found is not None
    assert {"--jobs", "--on", "--part"} <= {option for one in found.params for option in one.opts}
