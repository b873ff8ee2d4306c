from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from spkver.cli import root
from spkver.diarization.segmentation import SegmentationConfig, SegmentationNetwork, read_segmentation
from spkver.errors import InputError
from spkver.interop.peers.files import read_checkpoint
from spkver.interop.segmentation import _RENAMED, import_segmentation


def made(path):
    Path(path).mkdir()


class Touch:
    """An object whose unpickling would run code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return made, (str(self.path),)


@pytest.fixture
def theirs(tmp_path):
    """A checkpoint as pyannote.audio writes it, and its network."""
    torch.manual_seed(0)
    config = SegmentationConfig(filters=8, channels=6, lstm_size=4, lstm_layers=2, linear_size=5, linear_layers=3)
    network = SegmentationNetwork(config).eval()
    state = {"sincnet.conv1d.0.filterbank.n_": torch.zeros(1, 125)}
    for name, tensor in network.state_dict().items():
        old = next((old for old, new in _RENAMED.items() if name.startswith(new)), "")
        state[old + name[len(_RENAMED[old]) :] if old else name] = tensor
    folder = tmp_path / "pyannote"
    folder.mkdir()
    torch.save({"state_dict": state, "callbacks": Touch(tmp_path / "ran")}, folder / "pytorch_model.bin")
    return folder, network


def test_a_checkpoint_is_imported_without_running_its_code(theirs, tmp_path):
    folder, network = theirs
    result = CliRunner().invoke(root, ["import", str(folder), str(tmp_path / "seg"), "--from", "pyannote-segmentation"])
    assert result.exit_code == 0, result.output
    read = read_segmentation(tmp_path / "seg")
    waveform = torch.randn(1, 16000)
    assert torch.equal(read(waveform), network(waveform))
    assert not (tmp_path / "ran").exists()
    assert "MIT" in (tmp_path / "seg" / "card.md").read_text()


def test_strange_objects_are_refused_elsewhere(theirs, tmp_path):
    with pytest.raises(InputError, match="can run code"):
        read_checkpoint(theirs[0] / "pytorch_model.bin")


def test_other_networks_are_one_line_of_error(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "a.bin")
    with pytest.raises(InputError, match=r"a\.bin: not a segmentation network of pyannote\.audio \(no filters"):
        import_segmentation(tmp_path / "a.bin", tmp_path / "seg")
    with pytest.raises(InputError, match="no such file"):
        import_segmentation(tmp_path / "b.bin", tmp_path / "seg")
