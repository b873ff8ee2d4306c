"""Fixtures and settings of all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# no time limit per example, because the machine may be busy; the same examples in every run
settings.register_profile("spkver", deadline=None, derandomize=True)
settings.load_profile("spkver")

RATE = 8000
BROWSER_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--autoplay-policy=no-user-gesture-required", "--mute-audio", "--hide-scrollbars"),
)
FRONT_END = {"sample_rate": RATE, "bins": 24, "high_hz": 3600.0}


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


def write_pack(path: Path, speakers: range, utterances: int) -> Path:
    """A corpus that a tiny network learns in seconds: every speaker is a tone of its own pitch."""
    from spkver.packs import PackWriter

    with PackWriter(path, kind="audio", sample_rate=RATE) as pack:
        for speaker in speakers:
            for number in range(utterances):
                random = np.random.default_rng([speaker, number])
                time = np.arange(int(RATE * random.uniform(0.45, 0.8))) / RATE
                note = 200 + 190 * (7 * speaker % 17)
                on = (
                    np.sin(2 * np.pi * 6 * time + random.uniform(0, 6)) > 0
                )  # a steady tone would be removed with the mean
                tone = on * (np.sin(2 * np.pi * note * time) + np.sin(2 * np.pi * 1.3 * note * time))
                samples = 5000 * tone + 300 * random.normal(size=len(time))
                pack.add(f"s{speaker}/{number}", f"s{speaker}", f"day{number % 2}", samples.astype("<i2"))
    return path


@pytest.fixture(scope="session")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packs `train` (12 speakers), `dev` (5 others) and `features`, those of train."""
    from spkver.features import FrontEndConfig
    from spkver.packs import make_features

    folder = tmp_path_factory.mktemp("packs")
    write_pack(folder / "train", range(12), 3)
    write_pack(folder / "dev", range(12, 17), 4)
    make_features(folder / "train", folder / "features", FrontEndConfig(**FRONT_END))
    return folder


@pytest.fixture
def write_recipe(packs: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe as YAML: `write_recipe(train={"steps": 4})`; keys override those of a small recipe."""
    import yaml

    def write(**keys: Any) -> Path:
        tree: dict[str, Any] = {
            "data": {"train": str(packs / "train"), "dev": str(packs / "dev"), "crop_seconds": 0.4},
            "front_end": FRONT_END,
            "model": {"name": "xvector", "channels": 8, "pooled_channels": 16, "dim": 8},
            "loss": "lmcl",
            "train": {
                "steps": 8,
                "batch_size": 8,
                "log_every": 2,
                "dev_every": 4,
                "checkpoint_every": 3,
                "device": "cpu",
                "threads": 1,
            },
        }
        for key, value in keys.items():
            tree[key] = {**tree[key], **value} if isinstance(tree.get(key), dict) and key != "model" else value
        path = tmp_path / "recipe" / "recipe.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(tree))
        return path

    return write


@pytest.fixture(scope="module")
def open_browser(tmp_path_factory):
    """A function that starts a headless Chromium with more flags; they end with the tests of the module."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (the extra `test`)")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver (apt-get install chromium chromium-driver)")
    started = []

    def open_one(*flags: str) -> Any:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*BROWSER_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        started.append(browser)
        browser.set_script_timeout(20)
        return browser

    yield open_one
    for browser in started:
        browser.quit()
