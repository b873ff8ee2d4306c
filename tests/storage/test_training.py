"""Training from a pack by URL: the batches of a local pack, also after a kill, and no credentials in its files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spkver.config import load
from spkver.errors import InputError
from spkver.packs import Pack, PackWriter, join
from spkver.packs.order import in_windows
from spkver.recipe import Recipe, average, train
from spkver.storage import Url, cache
from spkver.storage.upload import put
from spkver.training.data.batches import Sampler

from .conftest import KEY, SECRET, Server, clear

STEPS = 16


def write_pack(path: Path) -> Path:
    with PackWriter(path, kind="audio", sample_rate=8000, rows_per_shard=6) as pack:
        for row in range(72):
            random = np.random.default_rng(row)
            time_ = np.arange(6000) / 8000
            tone = np.sin(2 * np.pi * (200 + 190 * (row // 6)) * time_) * (np.sin(40 * time_) > 0)
            samples = 5000 * tone + 300 * random.normal(size=6000)
            pack.add(f"s{row // 6:02d}/{row:03d}", f"s{row // 6:02d}", "", samples.astype("<i2"))
    return path


def recipe(tmp_path: Path, pack: str, **data: Any) -> Path:
    tree = {
        "data": {"train": pack, "crop_seconds": 0.4, "shuffle_gb": 2e-4, **data},
        "front_end": {"sample_rate": 8000, "bins": 24, "high_hz": 3600.0},
        "model": {"name": "xvector", "channels": 8, "pooled_channels": 16, "dim": 8},
        "loss": "lmcl",
        "train": {"steps": STEPS, "batch_size": 8, "log_every": 1, "checkpoint_every": 1, "device": "cpu"},
    }
    path = tmp_path / f"{'remote' if '://' in pack else 'local'}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def records(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["waiting"] <= 1 for line in lines if "waiting" in line)
    return [
        {key: value for key, value in one.items() if key not in ("utterances_per_second", "waiting")} for one in lines
    ]


def test_a_killed_run_from_s3_gives_the_losses_of_an_undisturbed_local_run(
    s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = write_pack(tmp_path / "pack")
    train(load(Recipe, recipe(tmp_path, str(local))), tmp_path / "undisturbed", say=lambda text: None)
    put([(local, Url("s3://bucket/pack"))], "pack.json")
    clear()
    monkeypatch.setenv(cache.GIGABYTES, "6e-4")  # half of the pack: shards are copied again
    config, out = recipe(tmp_path, "s3://bucket/pack"), tmp_path / "killed"
    s3.asked.clear()
    s3.holds_after = 9
    command = [sys.executable, "-m", "spkver", "train", str(config), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=os.environ) as run:
        last = time.monotonic() + 300
        while (s3.shards <= s3.holds_after or not records_of(out)) and run.poll() is None and time.monotonic() < last:
            time.sleep(0.1)
        assert run.poll() is None, run.stderr.read() if run.stderr else ""
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert 0 < len(records_of(out)) < STEPS and not (out / "complete").exists()
    s3.holds_after = None
    s3.faults = ["cut", None, 503]
    train(load(Recipe, config), out, resume=True, say=lambda text: None)
    assert "resuming after step" in (out / "train.log").read_text()
    assert records(out) == records(tmp_path / "undisturbed")
    name = "model/model.safetensors"
    assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    put([(out, Url("memory://bucket/exp"))])
    for place in (str(out), "memory://bucket/exp"):
        average(place, tmp_path / "mean" / Path(place).name, last=2, say=lambda text: None)
    one, other = ((tmp_path / "mean" / folder / "model.safetensors").read_bytes() for folder in ("killed", "exp"))
    assert one == other
    for path in out.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert SECRET.encode() not in content and KEY.encode() not in content, path


def records_of(out: Path) -> list[str]:
    return (out / "metrics.jsonl").read_text().splitlines() if (out / "metrics.jsonl").exists() else []


def test_an_order_goes_from_window_to_window(tmp_path: Path) -> None:
    pack = Pack.open(write_pack(tmp_path / "pack"))
    both = join([pack, pack.subset(np.arange(0, 72, 2))])
    np.testing.assert_array_equal(both.shard_of[72:], 12 + pack.shard_of[::2])
    for one in (pack, both, pack.subset(np.arange(40, 70))):
        rows = np.arange(len(one))
        order = in_windows(one, rows, np.random.default_rng(3), 3 * pack.shards[0].bytes)
        np.testing.assert_array_equal(np.sort(order.rows), rows)
        assert sorted(shard for shards in order.shards for shard in shards) == np.unique(one.shard_of).tolist()
        for number, (start, end) in enumerate(zip([0, *order.ends], order.ends)):
            assert set(one.shard_of[order.rows[start:end]]) == set(order.shards[number])
            assert len(order.shards[number]) <= 3 and order.window(start) == order.window(end - 1) == number
    assert (np.diff(one.shard_of[order.rows[: order.ends[0]]]) != 0).mean() > 0.3  # mixed within a window


def test_the_sampler_fetches_the_window_and_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = Pack.open(write_pack(tmp_path / "pack"))
    asked: list[list[int]] = []
    monkeypatch.setattr(Pack, "fetch_ahead", lambda self, numbers: asked.append(list(numbers)))
    window = 3 * pack.shards[0].bytes
    sampler = Sampler(pack, batch_size=8, crop=2000, speeds=(1.0,), seed=1, window_bytes=window)
    seen = [set(pack.shard_of[sampler.batch(step).rows].tolist()) for step in range(18)]  # two epochs
    assert len(asked) == 8 and all(len(numbers) == 6 for numbers in asked)
    assert {*asked[0][:3]} | {*asked[1][:3]} | {*asked[2][:3]} | {*asked[3][:3]} == set(range(12))
    assert [first[3:] for first in asked[:-1]] == [second[:3] for second in asked[1:]]
    assert max(map(len, seen)) <= 6


def test_a_cache_that_is_too_small_for_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put([(write_pack(tmp_path / "pack"), Url("memory://bucket/pack"))], "pack.json")
    monkeypatch.setenv(cache.GIGABYTES, "3e-4")
    with pytest.raises(InputError, match=r"needs a cache of 400\.0 kB; set SPKVER_CACHE_GB to more, or data"):
        train(load(Recipe, recipe(tmp_path, "memory://bucket/pack")), tmp_path / "out", say=lambda text: None)
    each = recipe(tmp_path, "memory://bucket/pack", utterances_per_speaker=2, shuffle_gb=None)
    with pytest.raises(InputError, match="set SPKVER_CACHE_GB to more, or copy the pack to this computer"):
        train(load(Recipe, each), tmp_path / "out", say=lambda text: None)


@pytest.mark.parametrize("url", ["https://me:word@host/pack", "https://host/pack?X-Amz-Signature=word"])
def test_a_config_has_no_credentials(tmp_path: Path, url: str) -> None:
    for given in (url, [url, "packs/b"]):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"data": {"train": given}}))
        with pytest.raises(InputError, match="a URL with a password or a query would be stored") as caught:
            load(Recipe, path)
        assert "word@" not in str(caught.value) and "=word" not in str(caught.value)
