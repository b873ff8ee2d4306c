"""Every registered component, every corpus and every command has a test that names it."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

import data_prep
from spkver.cli import COMMANDS

ROOT = Path(__file__).parents[1]


@functools.cache
def _quoted(room: str) -> set[str]:
    """The quoted names in the tests of a package ("" for all tests), and the networks of `networks.yaml`."""
    paths = [*(ROOT / "tests" / room).rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    names = {name for path in paths for name in re.findall(r'"([\w+-]+)"', path.read_text(encoding="utf-8"))}
    networks = yaml.safe_load((ROOT / "tests" / "networks.yaml").read_text(encoding="utf-8"))
    return names | {network["name"] for network in networks.values()}


def _registries() -> Iterable[tuple[str, str]]:
    for path in sorted((ROOT / "spkver").rglob("*.py")):
        for name in re.findall(r"^(\w+) = Registry\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), name


@pytest.mark.parametrize(("module", "name"), _registries(), ids=lambda word: word)
def test_every_component_has_a_test(module: str, name: str) -> None:
    registry = getattr(importlib.import_module(module), name)
    parts = {part for part in registry if part not in registry._installed}  # other packages test their own
    assert parts - _quoted(module.split(".")[1]) == set()


def test_every_corpus_has_a_test() -> None:
    corpora = {found.name for found in pkgutil.iter_modules(data_prep.__path__) if not found.name.startswith("_")}
    assert corpora - _quoted("data_prep") == set()


def test_every_command_has_a_test() -> None:
    assert set(COMMANDS) - _quoted("") == set()
