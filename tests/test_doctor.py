"""`spkver doctor`: which dependencies load, and why others do not."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from spkver import doctor
from spkver.packs import PackWriter


def examined(folder: Path) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine(folder)}


def test_examine_lists_packages_device_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    real = importlib.import_module

    def load(name: str, package: str | None = None) -> object:
        if name == "onnxruntime":
            raise OSError("libgomp.so.1: cannot open\nshared object file")  # as with a broken library
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", load)
    with PackWriter(tmp_path / "packs" / "train", kind="audio", sample_rate=16000):
        pass
    (tmp_path / "exp" / "one" / "model").mkdir(parents=True)
    found = examined(tmp_path)
    assert [finding for finding in found.values() if finding.broken] == []
    assert re.match(r"\d+\.\d+", found["torch"].found) and re.match(r"\d+\.\d+", found["yaml"].found)
    assert found["av"].found.startswith("does not load: ") and "pip install 'spkver[m4a]'" in found["av"].found
    assert "libgomp.so.1: cannot open shared object file; for ONNX files" in found["onnxruntime"].found
    assert "opus" in found["recordings"].found and "m4a" not in found["recordings"].found
    assert found["bf16"].found.split()[0] in ("yes", "not")
    assert "packs/train (" in found["packs"].found and "exp/one/model" in found["models"].found
    assert re.match(r"[\d.]+ .?B on the disk of ", found["free here"].found)


def test_required_package_that_does_not_load_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", ("numpy", "no_such_module"))
    monkeypatch.setattr(doctor, "OPTIONAL", {})
    monkeypatch.setattr(doctor.compat, "torchaudio", lambda: None)
    monkeypatch.setattr(doctor.compat, "speechbrain", lambda: None)
    broken = [finding for finding in doctor.examine() if finding.broken]
    assert [finding.name for finding in broken] == ["no_such_module"]
    assert broken[0].found == "does not load: No module named 'no_such_module'"


def test_every_extra_is_checked() -> None:
    pyproject = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    section = pyproject.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE)) - {"test", "docs"}  # extras for developers
    assert set(doctor.OPTIONAL) == extras
