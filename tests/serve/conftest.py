"""The service in this process (`client`), and as a process (`server`)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for name in ("fastapi", "uvicorn", "multipart", "websockets", "prometheus_client", "httpx2"):
    pytest.importorskip(name, reason=f"{name} is not installed (extra `serve`)")

RATE = 16000


@pytest.fixture(scope="session")
def decided_model(tiny_model, tmp_path_factory) -> Path:
    """The tiny model with a threshold, a calibration and a correction for lengths."""
    from spkver.verify.decision import Calibration, Decision, Rate, write_decision
    from spkver.verify.lengths import Lengths

    folder = tmp_path_factory.mktemp("decided") / "model"
    shutil.copytree(tiny_model, folder)
    rate = Rate(rate=0.01, low=0, high=0.1, errors=1, trials=100)
    write_decision(
        folder,
        Decision(
            threshold=0.9,
            low=0.8,
            high=0.95,
            wish="a test",
            far=rate,
            frr=rate,
            calibration=Calibration(scale=40, offset=-36, least=-9, most=9, prior=0.5),
            speakers=10,
            lengths=Lengths(shift=0.01, slope=-0.01, least=-1, most=1),
        ),
    )
    return folder


@pytest.fixture(scope="session")
def verifier(decided_model):
    from spkver.serve.batching import SharedVerifier

    opened = SharedVerifier.open(decided_model)
    opened.batches = []  # their sizes
    return opened.prepare(opened.batches.append)


@pytest.fixture
def serving(verifier, tmp_path):
    """Make a client of the application: `serving(limits={...}, tokens=...)`."""
    from starlette.testclient import TestClient

    from spkver.config import validate
    from spkver.serve.app import build
    from spkver.serve.config import ServeConfig
    from spkver.serve.guard import Access
    from spkver.serve.service import Service
    from spkver.serve.work import Rates

    def make(tokens=None, book=tmp_path / "book", **config: Any) -> TestClient:
        chosen = validate(ServeConfig, config)
        service = Service(verifier, book, chosen.limits, tenants=tokens is not None)
        names = [""] if tokens is None else tokens.names()
        access = Access(tokens, Rates(names, chosen.limits.requests_per_minute))
        return TestClient(build(service, access, chosen), base_url="http://localhost:8000")

    return make


@pytest.fixture
def client(serving):
    return serving()


@pytest.fixture(scope="session")
def recording(voice, tmp_path_factory):
    """The content of a recording of a pitch: `recording(100, seed=1, suffix=".flac")`."""
    from spkver import audio

    folder = tmp_path_factory.mktemp("recordings")

    def make(pitch, suffix=".wav", **options) -> bytes:
        path = folder / f"x{suffix}"
        audio.write(path, voice(pitch, **options), options.get("rate", RATE))
        return path.read_bytes()

    return make


@dataclass
class Server:
    """A running `spkver serve`."""

    process: subprocess.Popen
    url: str
    said: list[str] = field(default_factory=list)

    def stop(self, number=signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.said.append(self.process.communicate(timeout=60)[0])
        return self.process.returncode


@pytest.fixture
def server(decided_model, tmp_path):
    """Start `spkver serve ARGUMENTS` on a free port."""
    started = []

    def start(*arguments) -> Server:
        given = ["--model", decided_model, "--book", tmp_path / "book", "--port", 0, "--jobs", 1, *arguments]
        process = subprocess.Popen(
            [sys.executable, "-m", "spkver", "serve", *map(str, given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http"), line + process.communicate(timeout=60)[0]
        started.append(process)
        return Server(process, line.split()[-1])

    yield start
    for process in started:
        process.kill()
        process.communicate()


def pcm(waveform: np.ndarray, order: str = "<i2") -> bytes:
    return (waveform * 32767).round().astype(order).tobytes()
