"""Components of installed packages, by entry points."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spkver.errors import InputError
from spkver.registry import Registry

MARGIN = """
import torch
from typing import Literal
from spkver.losses.margins import Margin, MarginConfig

class HalfConfig(MarginConfig):
    name: Literal["half"] = "half"
    share: float = 0.5

class Half(Margin):
    Config = HalfConfig

    def __init__(self, config):
        super().__init__()
        self.share = config.share

    def forward(self, target, m):
        return target.scale * (target.cosine - self.share * m)
"""

ENTRY_POINTS = """
[spkver.margin]
half = half_margin:Half
lmcl = half_margin:Half
gone = half_margin:Nobody
lost = nowhere:Half
[spkver.front_end]
mine = half_margin:Half
"""

USE = """
import torch
from spkver.config import validate
from spkver.losses import LOSSES
from spkver.losses.margin_loss import MarginLossConfig

def value(**keys):
    torch.manual_seed(1)
    config = validate(LOSSES, {"name": "lmcl", **keys})
    return LOSSES.build(config, 4, 5)(torch.arange(8.0).view(2, 4), torch.tensor([1, 2])).loss

assert torch.equal(value(m=0.4, margin={"name": "half", "share": 0.25}), value(m=0.1))
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installed package with entry points."""
    (tmp_path / "half_margin.py").write_text(MARGIN)
    about = tmp_path / "half_margin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: half-margin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_component_of_another_package_is_used_by_its_name(installed):
    code = f"import sys; sys.path.insert(0, {str(installed)!r})\n{USE}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_registry_lists_installed_components_and_rejects_unknown_names(installed):
    margins = Registry("margin", {"lmcl": "spkver.losses.margins:AdditiveCosine"}, presets={"gone": {"name": "lmcl"}})
    assert list(margins) == ["lmcl", "half", "lost"]
    assert margins.get("half").__name__ == "Half"
    assert margins.get("lmcl").__name__ == "AdditiveCosine"
    with pytest.raises(InputError, match=r"^margin 'lost' of half-margin: nowhere:Half cannot be loaded \(No module"):
        margins.get("lost")
    with pytest.raises(InputError, match="unknown margin 'haf'; did you mean 'half'"):
        margins.get("haf")
    assert list(Registry("front end", {})) == ["mine"]


def test_entry_point_that_does_not_load_is_named(installed):
    with pytest.raises(InputError, match=r"half_margin:Nobody cannot be loaded \(.*has no attribute 'Nobody'"):
        Registry("margin", {}).get("gone")
