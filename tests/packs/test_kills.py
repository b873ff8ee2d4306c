"""SIGKILL at every file system operation and at random times: the result equals that of a run without a kill."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from spkver.datadir import DataDir, write_datadir
from spkver.packs import pack_audio

Corpus = Callable[..., DataDir]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("what", ["pack", "features"])
def test_killed_run_resumes_to_the_same_result(tmp_path: Path, corpus: Corpus, what: str) -> None:
    data = corpus(4)
    source = tmp_path / "source"
    if what == "pack":
        write_datadir(source, data)
    else:
        pack_audio(data, source, rows_per_shard=2)
    worker = Path(__file__).with_name("kill_worker.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # hundreds of runs would take minutes on a disk
    with tempfile.TemporaryDirectory(dir=memory) as out:
        command = [sys.executable, str(worker), what, str(source), out]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60
