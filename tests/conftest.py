"""Fixtures and settings of all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# no time limit per example, because the machine may be busy; the same examples in every run
settings.register_profile("spkver", deadline=None, derandomize=True)
settings.load_profile("spkver")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """The CPU, and a GPU if available."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return request.param


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A model directory with a small, untrained x-vector network."""
    import torch

    from spkver.config import validate
    from spkver.encoder import Encoder, EncoderConfig

    torch.manual_seed(0)
    network = {"name": "xvector", "channels": 8, "pooled_channels": 12, "dim": 16}
    folder = tmp_path_factory.mktemp("tiny") / "model"
    Encoder(validate(EncoderConfig, {"model": network})).save(folder)
    return folder


@pytest.fixture(scope="session")
def environment() -> Iterator[Path]:
    """A stand-in for the virtual environment of stage 0, whose commands start quickly."""
    if not hasattr(os, "fork") or shutil.which("bash") is None:
        pytest.skip("needs bash, and processes that fork")
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory(prefix="spkver") as folder:  # socket paths must be short
        server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("commands.py")), folder],
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.PIPE,
        )
        try:
            assert server.stdout is not None and server.stdout.readline() == b"ready\n"
            yield Path(folder)
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="session")
def voice():
    """Make a voice-like waveform: pulses through resonances, with pauses and a little noise."""

    def make(pitch, seconds=4.0, rate=16000, seed=0):
        random = np.random.default_rng([seed, pitch])
        time = np.arange(int(seconds * rate)) / rate
        wave = sum(
            np.sin(2 * np.pi * pitch * k * time + random.uniform(0, 6)) / k for k in range(1, rate // 2 // pitch)
        )
        wave = wave * (time % 1 < 0.7) + 0.002 * random.normal(size=len(time))
        return (0.2 * wave / np.abs(wave).max()).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def alternatives():
    """For each key of a config (`head.s`): the key, and complete configs in which that key alone has another value."""
    from typing import Literal, get_args, get_origin

    from spkver.config import Config

    def others(value, field):
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        if choices:
            return [choice for choice in choices if choice != value]
        if isinstance(value, bool):
            return [not value]
        if isinstance(value, int):
            return [value + 1, value + 2, value - 1, 30 * value]
        if isinstance(value, float):
            return [value * 0.5, value * 1.25 + 0.01, value * 3 + 1]
        if isinstance(value, tuple) and len(value) == 2 and all(isinstance(one, int) for one in value):
            return [(value[0] + 1, value[1] + 1), (value[0], value[1] + 30)]
        if isinstance(value, tuple) and len(value) == 2 and all(isinstance(one, float) for one in value):
            return [(value[0] - 1, value[1] - 0.5), (value[0] * 1.1 + 0.01, value[1] * 1.1 + 0.02)]
        if value is None:
            return [0.05, 0.5]
        return []

    def walk(config, tree, put, prefix=""):
        for name, field in type(config).model_fields.items():
            value = dict(config)[name]
            if name == "name":
                continue

            def here(other, name=name):
                return put({**tree, name: other})

            if isinstance(value, Config):
                yield from walk(value, tree[name], here, f"{prefix}{name}.")
            elif changed := [other for other in others(value, field) if other != value]:
                yield f"{prefix}{name}", [here(other) for other in changed]

    def make(config):
        return list(walk(config, config.model_dump(mode="json"), lambda changed: changed))

    return make
