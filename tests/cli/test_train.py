"""`spkver train`, `extract`, `verify` as a user runs them: a small run from packs, then its model."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import yaml

from spkver.config import load
from spkver.embeddings import read_embeddings
from spkver.packs import PackWriter
from spkver.recipe import Recipe


def write_pack(path, speakers):
    with PackWriter(path, kind="audio", sample_rate=16000) as pack:
        for speaker in speakers:
            for number in range(3):
                random = np.random.default_rng([speaker, number])
                pack.add(f"s{speaker}/{number}", f"s{speaker}", "", (2000 * random.normal(size=9000)).astype("<i2"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`train`, `dev`: packs; `c.yaml`: a config of a short run."""
    folder = tmp_path_factory.mktemp("train")
    write_pack(folder / "train", range(3))
    write_pack(folder / "dev", range(3, 6))
    recipe = {
        "data": {"train": str(folder / "train"), "dev": str(folder / "dev"), "crop_seconds": 0.5},
        "model": {"name": "xvector", "channels": 8, "pooled_channels": 8, "dim": 4},
        "loss": "nsl",
        "train": {"steps": 2, "batch_size": 4, "device": "cpu", "threads": 1},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def test_train_extract_verify(spkver, folder, tmp_path):
    out = tmp_path / "exp"
    done = spkver("train", folder / "c.yaml", "train.steps=3", "--out", out)
    assert "step 3/3  loss" in done.stdout and f"model: {out / 'model'}" in done.stdout
    # the stored config is complete and equals the given one
    kept = load(Recipe, out / "config.yaml")
    assert kept == load(Recipe, folder / "c.yaml", ["train.steps=3"])
    spkver("extract", folder / "dev", tmp_path / "e.parquet", "--model", out / "model", "--device", "cpu")
    assert read_embeddings(tmp_path / "e.parquet").vectors.shape == (9, 4)
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.random.default_rng(ord(name)).normal(size=16000), 16000)
    said = spkver(
        "verify", tmp_path / "a.wav", tmp_path / "b.wav", "--model", out / "model", "--threshold", "-1"
    ).stdout
    score, decision = said.split("\t")
    assert score.startswith("cosine ") and score.endswith(" (threshold -1.0000)") and decision == "same speaker\n"
    assert -1 <= float(score.split()[1]) <= 1
    (tmp_path / "c.wav").write_bytes(b"")
    done = spkver("verify", tmp_path / "a.wav", tmp_path / "c.wav", "--model", out / "model", code=2)
    assert "c.wav" in done.stderr


def test_explain(spkver, folder):
    text = spkver("train", folder / "c.yaml", "loss=aam", "--explain", "loss.margin").stdout
    assert text.startswith("loss.margin: aam\n")
    assert "one of: none, lmcl, aam, " in text and "beyond: falling  # " in text
    failed = spkver("train", folder / "c.yaml", "--explain", "loss.margn", code=2)
    assert "unknown key 'loss.margn'; did you mean 'margin'?" in failed.stderr
    assert "missing option '--out'" in spkver("train", folder / "c.yaml", code=2).stderr


def test_show(spkver, folder, tmp_path):
    shown = spkver("train", folder / "c.yaml", "loss=lmcl", "--out", tmp_path / "exp", "--show").stdout
    (tmp_path / "shown.yaml").write_text(shown)
    assert load(Recipe, tmp_path / "shown.yaml") == load(Recipe, folder / "c.yaml", ["loss=lmcl"])
    assert not (tmp_path / "exp").exists()


def test_config_errors_have_file_and_line(spkver, folder, tmp_path):
    text = (folder / "c.yaml").read_text().replace("batch_size", "batchsize")
    (tmp_path / "c.yaml").write_text(text)
    number = 1 + [line.strip().startswith("batchsize") for line in text.splitlines()].index(True)
    done = spkver("train", tmp_path / "c.yaml", "--out", tmp_path / "exp", code=2)
    assert f"{tmp_path / 'c.yaml'}:{number}: train: unknown key 'batchsize'; did you mean 'batch_size'?" in done.stderr
    assert not (tmp_path / "exp").exists()


def test_dry_run(spkver, folder, tmp_path):
    said = spkver("train", folder / "c.yaml", "--out", tmp_path / "exp", "--dry-run").stdout
    assert "memory: " in said and "whole run: 2 steps in about " in said
    assert list(tmp_path.iterdir()) == []
