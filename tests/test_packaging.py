"""Contents of the wheel, the sdist and the image, and agreement of other files with the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

import spkver

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "spkver", "data_prep")


def _listed() -> set[str]:
    found = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return set(re.findall(r'"(.+?)"', found[1]))


def test_every_package_is_listed() -> None:
    folders = {path.parent for top in ("spkver", "data_prep") for path in (ROOT / top).rglob("*.py")}
    folders.add(ROOT / "spkver" / "start")  # data only
    assert _listed() == {".".join(folder.relative_to(ROOT).parts) for folder in folders}


def test_clone_in_the_current_folder_does_not_hide_the_package(tmp_path: Path) -> None:
    """A clone has the name of the package and no __init__.py."""
    (tmp_path / "spkver" / "tests").mkdir(parents=True)
    found = subprocess.run([sys.executable, "-m", "spkver", "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("spkver")


def test_the_installation_page_says_what_every_package_is_for() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    needed = set(re.findall(r'^    "([\w-]+)', project.split("dependencies = [")[1].split("]")[0], re.MULTILINE))
    table = (ROOT / "docs" / "quick-start.md").read_text().split("| package | use |")[1].split("\n\n")[0]
    named = {name for row in re.findall(r"^\| (\w.+?) \|", table, re.MULTILINE) for name in row.split(", ")}
    assert needed == named
    modules = {"pyyaml": "yaml"}
    code = "\n".join(path.read_text() for path in (ROOT / "spkver").rglob("*.py") if path.stem != "doctor")
    imported = set(re.findall(r"^ *(?:import|from) (\w+)", code, re.MULTILINE))
    assert {modules.get(name, name) for name in needed} <= imported


def test_the_installation_page_has_every_extra() -> None:
    project = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]\n")[1].split("\n\n")[0]
    extras = set(re.findall(r"^(\w+) = ", project, re.MULTILINE))
    table = (ROOT / "docs" / "quick-start.md").read_text().split("| extra | adds |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == extras


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == spkver.__version__
    changes = re.findall(r"^## \[(\d\S*)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changes[0] == (spkver.__version__, str(citation["date-released"]))


def test_the_architecture_names_every_module() -> None:
    modules = {path.stem for path in (ROOT / "spkver").glob("[a-z]*") if path.suffix == ".py" or path.is_dir()}
    named = set(re.findall(r"`(\w+)`", (ROOT / "ARCHITECTURE.md").read_text()))
    assert modules - {"__pycache__", "py", "start"} <= named


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from it."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    (folder / "source").mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), "source"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "would be ignored" not in done.stdout + done.stderr
    return folder / "dist"


def test_distributions_can_be_published(built: Path) -> None:
    pytest.importorskip("twine")
    names = sorted(path.name for path in built.iterdir())
    assert names == [f"spkver-{spkver.__version__}-py3-none-any.whl", f"spkver-{spkver.__version__}.tar.gz"]
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_wheel_works_in_a_fresh_environment(built: Path, tmp_path: Path) -> None:
    """Without the clone: entry point, packaged model, data_prep."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    binaries = tmp_path / "venv" / "bin"
    purelib = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    install = [*_pip(), "--python", str(binaries / "python"), "install", "--no-deps", "--no-index"]
    done = subprocess.run([*install, str(next(built.glob("*.whl")))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The dependencies are those of this environment. Python does not read the .pth files in a folder that a .pth file
    # names, so an editable install of spkver is not visible.
    (purelib / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    random = np.random.default_rng(0)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, 0.1 * random.standard_normal(32000), 16000)

    def run(*command: str) -> str:
        words = [str(binaries / command[0]), *command[1:]]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env={"HOME": str(tmp_path)})
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("spkver", "--version").split()[-1] == spkver.__version__
    assert str(purelib) in run("python", "-c", "import spkver; print(spkver.__file__)")
    assert "speaker" in run("spkver", "verify", "a.wav", "b.wav")
    assert "ROOT" in run("python", "-m", "data_prep.folder", "--help")


def _pip() -> list[str]:
    """pip of this environment, or the one bundled with Python."""
    here = [sys.executable, "-m", "pip"]
    if subprocess.run([*here, "--version"], capture_output=True).returncode == 0:
        return here
    found = shutil.which("pip")
    if found is None:
        pytest.skip("needs pip")
    return [found]


# --- the image --------------------------------------------------------------------------------------------------------


def test_the_dockerfile_has_no_findings() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("needs hadolint")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout


def test_dockerfile_copies_what_the_installation_needs() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if re.match(r"COPY (?!--)", line) for name in line.split()[1:-1]}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed == {*SOURCES, "constraints.txt"}
