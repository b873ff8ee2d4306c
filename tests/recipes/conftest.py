"""Run the recipes as a user does, with run.sh, on miniature corpora in the published layout."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spkver import audio

REPOSITORY = Path(__file__).parents[2]
TINY = "model.channels=8 model.pooled_channels=16 model.dim=8 train.batch_size=4 train.log_every=1 train.precision=fp32"
SMALL = [
    *("--network", "xvector", "--overrides", TINY, "--steps", "2", "--margin-steps", "1"),
    *("--top", "2", "--cohort", "2", "--jobs", "1"),
]


@pytest.fixture
def recipe(environment: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run `recipes/NAME/run.sh OPTIONS` from stage 1, with a tiny network; all output is in the test's folder."""

    def run(name: str, *options: object, small: list[str] = SMALL, code: int = 0) -> subprocess.CompletedProcess:
        places = ["--data", tmp_path / "data", "--exp", tmp_path / "exp"]
        done = subprocess.run(
            ["bash", f"recipes/{name}/run.sh", "--stage", "1", *map(str, [*places, *small, *options])],
            cwd=REPOSITORY,
            env=os.environ | {"VIRTUAL_ENV": str(environment)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr + done.stdout
        if code == 2:
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done

    return run


@pytest.fixture
def record() -> Callable[..., None]:
    """Write recordings of noise. A speaker's recordings share a filter; the speaker's id is read from the path."""

    def make(root: Path, *names: str, seconds: float = 1.0) -> None:
        for number, name in enumerate(names):
            speaker = re.search(r"id\d+|/\d+/", name)
            own = np.random.default_rng(sum((speaker[0] if speaker else name).encode())).normal(size=16)
            voice = np.convolve(np.random.default_rng(number).normal(size=int(16000 * seconds)), own, mode="same")
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            audio.write(root / name, (0.1 * voice / np.abs(voice).max()).astype(np.float32), 16000)

    return make
