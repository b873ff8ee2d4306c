"""Every command refuses an impossible output before it reads its inputs, none of which exist here."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from spkver.embeddings import Embeddings, write_embeddings

COMMANDS = {
    "file": [
        "breakdown s t --out OUT",
        "calibrate s OUT --train s",
        "calibrate s o --train s --save OUT",
        "compare a=s b=s --trials t --out OUT",
        "convert e.npz OUT.npz",
        "data stats d --out OUT",
        "data trials d OUT --nontargets 1",
        "evaluate s --out OUT",
        "evaluate s --curve OUT",
        "export m OUT.onnx",
        "extract d OUT --model m",
        "fuse OUT s --train s",
        "normalise s e c OUT",
        "report a=s --out OUT.html",
        "score t e OUT",
        "score-all e OUT",
        "threshold s --far 0.1 --out OUT",
        "train-report x --out OUT",
        "transform apply c e OUT",
    ],
    "directory": [
        "average x OUT --last 1",
        "curves a=x --out OUT",
        "data cut d OUT --seconds 1",
        "data join OUT d",
        "data split d OUT o --speakers 1",
        "data split d o OUT --speakers 1",
        "data subset d OUT",
        "export m OUT --to wespeaker",
        "features p OUT",
        "import m OUT",
        "normalise s e c o --cache OUT",
        "pack d OUT",
        "plda adapt p OUT --with q",
        "plda fit e OUT",
        "report a=s --out OUT",
        "train c.yaml --out OUT",
        "transform fit e OUT",
    ],
}


@pytest.mark.parametrize(("kind", "line"), [(kind, line) for kind, lines in COMMANDS.items() for line in lines])
def test_impossible_outputs_are_refused_early(tmp_path, monkeypatch, capsys, kind, line):
    from spkver.cli import root, run

    monkeypatch.chdir(tmp_path)
    word = next(word for word in line.split() if word.startswith("OUT"))
    os.mkfifo(word)
    monkeypatch.setattr(sys, "argv", ["spkver", *line.split()])
    with pytest.raises(SystemExit) as ended:
        run(root, "spkver")
    reason = "a named pipe; give a file name" if kind == "file" else "a file; give a directory name"
    assert ended.value.code == 2 and capsys.readouterr().err == f"spkver: error: {word}: is {reason}\n"
    assert [path.name for path in tmp_path.iterdir()] == [word]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux")  # noqa: PTH112
def test_standard_output_has_only_the_scores(tmp_path):
    write_embeddings(tmp_path / "e.parquet", Embeddings(["a", "b", "c"], np.eye(3, dtype=np.float32) + 1))
    (tmp_path / "t").write_text("1 a b\n0 a c\n")
    (tmp_path / "out").symlink_to("/proc/self/fd/1")
    command = [sys.executable, "-m", "spkver", "score", "t", "e.parquet", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["a", "b"], ["a", "c"]]
    assert done.stderr == "out: 2 scores\n" and (tmp_path / "out").is_symlink()
