"""A short run of the fuzzer, in a process of its own: what brings a process down would take the tests with it."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_damaged_files_are_read_or_refused_by_name() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), "--examples", "1000"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout)
    assert sum(outcomes.values()) == 1000
    assert min(outcomes.get(kind, 0) for kind in ("audio", "data", "trials", "pack")) > 0
    assert len(outcomes) > 20
