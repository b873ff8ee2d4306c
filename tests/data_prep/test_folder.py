"""Data directories from folders of recordings."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep import folder
from data_prep._tree import Tree
from spkver import audio
from spkver.datadir import read_datadir, validate
from spkver.errors import InputError

FILES = ["ann/day1/a.wav", "ann/day1/deep/b.flac", "ann/c.ogg", "bob/d.opus", "bob/day 2/e.mp3"]


def record(root: Path, *names: str) -> Path:
    noise = np.random.default_rng(0).normal(scale=0.1, size=8000).astype(np.float32)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        audio.write(root / name, noise, 16000)
    return root


def run(*arguments: Path | str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "data_prep.folder", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_folder_with_mixed_formats(tmp_path: Path) -> None:
    root = record(tmp_path / "root", *FILES)
    (root / "ann" / "notes.txt").write_text("not audio")
    (root / "ann" / "._a.wav").write_text("a Mac's")
    done = run(root, tmp_path / "data")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'data'}: 5 utterances, 2 speakers\n"
    data = read_datadir(tmp_path / "data")
    assert data.ids == ["ann/c.ogg", "ann/day1/a.wav", "ann/day1/deep/b.flac", "bob/d.opus", "bob/day_2/e.mp3"]
    assert data.speakers == ["ann", "ann", "ann", "bob", "bob"]
    assert data.sessions == [None, "day1", "day1", None, "day_2"]
    assert data.paths[4] == str(root.resolve() / "bob/day 2/e.mp3")
    assert data.column("seconds") == pytest.approx([0.5] * 5)
    assert not any(problem.fatal for problem in validate(tmp_path / "data"))


def test_unreadable_recording_is_kept_for_packing_to_reject(tmp_path: Path) -> None:
    root = record(tmp_path / "root", "ann/a.wav", "ann/b.wav")
    (root / "ann" / "b.wav").write_bytes(b"")
    assert folder.prepare(Tree.read(root)).column("seconds") == [0.5, None]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no recordings found; expected"),
        (["a.wav", "ann/b.wav"], "a.wav: not in a speaker folder"),
        (["ann b/a.wav", "ann_b/a.wav"], "would both become speaker 'ann_b'"),
    ],
)
def test_folder_of_another_layout_is_rejected(tmp_path: Path, files: list[str], message: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(InputError, match=message):
        folder.prepare(Tree.read(record(root, *files)))


def test_errors_are_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "none", tmp_path / "data")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"python -m data_prep.folder: error: {tmp_path / 'none'}: no such folder\n"
    assert run().returncode == 2
