"""Miniature corpora, and the commands that prepare them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spkver import audio
from spkver.cli import run as run_command


@pytest.fixture
def record() -> Callable[..., Path]:
    """Write recordings of 0.1 s below a folder; formats that libsndfile cannot write (m4a) get a file without audio."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=1600).astype(np.float32)

    def make(root: Path, *names: str) -> Path:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".m4a":
                path.write_bytes(b"\0" * 32)
            else:
                audio.write(path, noise, 16000)
        return root

    return make


@pytest.fixture
def prep(capsys: pytest.CaptureFixture) -> Callable[..., tuple[str, str]]:
    """Run `python -m data_prep.MODULE ARGUMENTS` in this process. Returns its output."""

    def run(module: str, *arguments: object, code: int = 0) -> tuple[str, str]:
        command = importlib.import_module(f"data_prep.{module}").command
        with pytest.MonkeyPatch.context() as monkey, pytest.raises(SystemExit) as stop:
            monkey.setattr("sys.argv", ["prep", *map(str, arguments)])
            run_command(command, f"python -m data_prep.{module}")
        out, err = capsys.readouterr()
        assert stop.value.code == code, err
        if code == 2:
            assert len(err.strip().splitlines()) == 1, err
        return out, err

    return run


@pytest.fixture
def write() -> Callable[..., Path]:
    """Write a text file of these lines."""

    def make(path: Path, *lines: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return make
