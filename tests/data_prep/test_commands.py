"""Properties of all data preparation commands."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import data_prep

MODULES = [module.name for module in pkgutil.iter_modules(data_prep.__path__) if not module.name.startswith("_")]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "synthetic"])
def test_help_ends_with_an_example_that_parses(name: str) -> None:
    command: click.Command = importlib.import_module(f"data_prep.{name}").command
    shown = CliRunner().invoke(command, ["--help"]).output
    example = shown.partition("Example: ")[2].partition("\n\n")[0].split()
    assert example[:3] == ["python", "-m", f"data_prep.{name}"]
    command.make_context(name, example[3:])


def test_documentation_lists_every_corpus() -> None:
    table = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert sorted(row[1].strip(" `") for row in rows) == sorted(MODULES)
    for row in rows:
        source = getattr(importlib.import_module(f"data_prep.{row[1].strip(' `')}"), "SOURCE", None)
        assert (row[5].strip() == "yes") == (source is not None and bool(source.archives)), row
        assert row[5].strip().startswith("says") == (source is not None and not source.archives), row
        if source is not None and source.archives:
            assert row[4].strip() == source.licence


def test_commands_do_not_import_torch() -> None:
    names = ", ".join(f"data_prep.{name}" for name in MODULES if name != "synthetic")
    heavy = "{'torch', 'torchaudio', 'librosa', 'speechbrain', 'scipy'}"
    code = f"import sys, {names}; print({heavy} & sys.modules.keys() or '')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "\n"
