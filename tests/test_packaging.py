"""What the wheel holds is what the repository holds."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed() -> None:
    listed = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert listed is not None
    folders = {path.parent for top in ("spkver", "data_prep") for path in (ROOT / top).rglob("*.py")}
    expected = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(re.findall(r'"(.+?)"', listed[1])) == expected


def test_a_clone_in_the_current_folder_does_not_hide_the_package(tmp_path: Path) -> None:
    """The folder of a clone has the name of the package and no __init__.py."""
    (tmp_path / "spkver" / "tests").mkdir(parents=True)
    found = subprocess.run([sys.executable, "-m", "spkver", "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("spkver")
