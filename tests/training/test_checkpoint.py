from __future__ import annotations

import json

import pytest
import torch

from spkver.errors import InputError
from spkver.training import checkpoint
from spkver.training.checkpoint import Checkpoint


def state(step):
    return Checkpoint(step, {"w": torch.full((2, 3), float(step)), "n": torch.tensor(step)}, {"best": {"eer": 0.1}})


def test_what_is_saved_is_read(tmp_path):
    checkpoint.save(tmp_path, state(5), keep=2)
    found = checkpoint.latest(tmp_path, print)
    assert (found.step, found.numbers) == (5, {"best": {"eer": 0.1}})
    assert torch.equal(found.tensors["w"], state(5).tensors["w"])


def test_the_last_are_kept(tmp_path):
    for step in (1, 9, 10, 100):
        checkpoint.save(tmp_path, state(step), keep=2)
    assert [path.name for path in checkpoint.saved(tmp_path)] == ["step-00000010", "step-00000100"]
    mean = checkpoint.average(checkpoint.saved(tmp_path), "")
    assert mean["w"][0, 0] == 55 and mean["n"] == 100


def _manifest(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage",
    [
        lambda at: (at / "manifest.json").unlink(),
        lambda at: (at / "manifest.json").write_text("{"),
        lambda at: (at / "manifest.json").write_text("[]"),
        lambda at: (at / "rank-0.safetensors").unlink(),
        lambda at: (at / "rank-0.safetensors").write_bytes(b""),
        lambda at: (at / "rank-0.safetensors").write_bytes((at / "rank-0.safetensors").read_bytes()[:-1] + b"x"),
        lambda at: _manifest(at / "manifest.json", format=99),
        lambda at: _manifest(at / "manifest.json", files=[]),
        lambda at: _manifest(at / "manifest.json", step=None),
    ],
)
def test_damage_is_passed_over_with_a_word(tmp_path, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, state(step), keep=2)
    damage(tmp_path / "step-00000002")
    with pytest.raises(InputError):
        checkpoint.read(tmp_path / "step-00000002")
    told = []
    assert checkpoint.latest(tmp_path, told.append).step == 1
    assert len(told) == 1 and "damaged" in told[0] and "step-00000002" in told[0]


def test_nothing_there(tmp_path):
    assert checkpoint.latest(tmp_path / "none", print) is None


def test_optimizer_state_keeps_the_layout_of_its_parameter():
    parameter = torch.nn.Parameter(torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last))
    scalar = torch.nn.Parameter(torch.tensor(1.0))
    names = {"a": parameter, "b": scalar}
    first = torch.optim.AdamW(names.values())
    (parameter.square().sum() + scalar**2).backward()
    first.step()
    saved = {name: tensor.contiguous() for name, tensor in checkpoint.optimizer_state(first, names).items()}
    second = torch.optim.AdamW(names.values())
    checkpoint.load_optimizer_state(second, names, saved)
    for owner in names.values():
        for key, value in first.state[owner].items():
            assert torch.equal(second.state[owner][key], value)
            assert second.state[owner][key].stride() == value.stride()
