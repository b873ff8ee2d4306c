"""The configs in the README of spkver/training are valid."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from spkver.config import load
from spkver.recipe import Recipe

README = Path(__file__).parents[2] / "spkver" / "training" / "README.md"
BLOCKS = [
    textwrap.dedent(one) for one in re.findall(r"(?:^    .*\n)+", README.read_text(encoding="utf-8"), re.MULTILINE)
]
KEYS = re.findall(r"^\| `((?:train|data)\..*?)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_config_blocks_are_valid(block, tmp_path):
    (tmp_path / "c.yaml").write_text(block if "data:" in block else "data: {train: pack}\n" + block)
    recipe = load(Recipe, tmp_path / "c.yaml")
    source = recipe.start or recipe.distil
    assert source is not None and (source.model or "/model").endswith("/model")


@pytest.mark.parametrize("keys", KEYS)
def test_keys_in_tables_are_valid(keys, tmp_path):
    (tmp_path / "c.yaml").write_text("data: {train: pack, dev: dev}\ntrain: {keep_checkpoints: 9}\n")
    overrides = [key.strip("` ").replace(": ", "=", 1) for key in re.split(r"`, `", keys)]
    recipe = load(Recipe, tmp_path / "c.yaml", overrides)
    assert recipe != load(Recipe, tmp_path / "c.yaml")
