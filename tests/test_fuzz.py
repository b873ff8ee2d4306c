"""A short run of the fuzzer, in a separate process, because a crash would end the tests."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_damaged_files_raise_only_input_errors() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), "--examples", "1000"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout)
    assert sum(outcomes.values()) == 1000
    assert min(outcomes.get(kind, 0) for kind in ("audio", "data", "trials", "pack")) > 0
    assert len(outcomes) > 20
