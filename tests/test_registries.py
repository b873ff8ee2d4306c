"""Every part that can be named, of every registry, is named by a test. So are the corpora and the commands."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import data_prep
from spkver.cli import COMMANDS

ROOT = Path(__file__).parents[1]
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py")))
QUOTED = set(re.findall(r'"([\w+-]+)"', TESTS))


def _registries() -> Iterable[tuple[str, str]]:
    for path in sorted((ROOT / "spkver").rglob("*.py")):
        for name in re.findall(r"^(\w+) = Registry\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), name


@pytest.mark.parametrize(("module", "name"), _registries(), ids=lambda word: word)
def test_every_part_has_a_test(module: str, name: str) -> None:
    assert set(getattr(importlib.import_module(module), name)) - QUOTED == set()


def test_every_corpus_and_command_has_a_test() -> None:
    corpora = {found.name for found in pkgutil.iter_modules(data_prep.__path__) if not found.name.startswith("_")}
    assert (corpora | set(COMMANDS)) - QUOTED == set()
