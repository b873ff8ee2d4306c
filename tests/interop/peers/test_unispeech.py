"""Checkpoints of UniSpeech that are refused; test_originals compares the others with the original code."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from spkver import compat
from spkver.errors import InputError
from spkver.interop.peers import guess, import_model

try:
    compat.transformers()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

CASES = json.loads(gzip.decompress(Path(__file__).with_name("originals.json.gz").read_bytes()))


@pytest.fixture
def checkpoint(tmp_path):
    """Write a checkpoint without some of its tensors."""

    def write(*lacking):
        tensors = CASES["UniSpeech's ECAPA-TDNN on WavLM base+"]["tensors"]
        state = {name: torch.ones(shape) for name, shape in tensors.items() if not any(one in name for one in lacking)}
        torch.save({"model": state}, tmp_path / "model.pth")
        return tmp_path / "model.pth"

    return write


def test_other_encoders_and_missing_tensors_are_refused(checkpoint, tmp_path):
    assert guess(checkpoint()) == "unispeech"
    with pytest.raises(InputError, match="only models on WavLM are supported"):
        import_model(checkpoint("grep"), tmp_path / "ours")
    with pytest.raises(InputError, match=r"missing layer3.Conv1dReluBn2.conv.bias"):
        import_model(checkpoint("layer3.Conv1dReluBn2.conv.bias"), tmp_path / "ours")
