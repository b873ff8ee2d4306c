from __future__ import annotations

import contextlib
import errno
import json
import resource
from unittest.mock import Mock

import pytest
import safetensors.torch
import torch

from spkver.errors import InputError, RunError
from spkver.files import sha256
from spkver.losses.reductions.split import ranges
from spkver.training.parallel.distributed import World
from spkver.training.state import checkpoint
from spkver.training.state.checkpoint import Checkpoint


def state(step):
    return Checkpoint(step, {"w": torch.full((2, 3), float(step)), "n": torch.tensor(step)}, {"best": {"eer": 0.1}})


def test_round_trip(tmp_path):
    checkpoint.save(tmp_path, state(5), keep=2)
    found = checkpoint.latest(tmp_path, print)
    assert (found.step, found.numbers) == (5, {"best": {"eer": 0.1}})
    assert torch.equal(found.tensors["w"], state(5).tensors["w"])


def test_only_the_last_checkpoints_are_kept(tmp_path):
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
        lambda at: _manifest(at / "manifest.json", format=-1),
        lambda at: _manifest(at / "manifest.json", files=[]),
        lambda at: _manifest(at / "manifest.json", step=None),
    ],
)
def test_damaged_checkpoint_is_skipped_with_a_message(tmp_path, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, state(step), keep=2)
    damage(tmp_path / "step-00000002")
    with pytest.raises(InputError):
        checkpoint.read(tmp_path / "step-00000002")
    told = []
    assert checkpoint.latest(tmp_path, told.append).step == 1
    assert len(told) == 1 and "damaged" in told[0] and "step-00000002" in told[0]


@contextlib.contextmanager
def files_up_to(size):
    """Limit the size of files, which has the same effect as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 10, 200])
def test_write_error_keeps_the_previous_checkpoint(tmp_path, room):
    checkpoint.save(tmp_path, state(1), keep=1)
    message = r"step-00000002: the checkpoint cannot be written .*--resume"
    with files_up_to(room), pytest.raises(RunError, match=message):
        checkpoint.save(tmp_path, state(2), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoint.latest(tmp_path, print).step == 1


def test_full_disk_at_every_stage(tmp_path, monkeypatch):
    """Errors from writing the file, syncing it, writing the manifest, and renaming."""
    full = OSError(errno.ENOSPC, "No space left on device")
    checkpoint.save(tmp_path, state(1), keep=1)
    for target in (
        "safetensors.torch.save_file",
        "spkver.training.state.checkpoint.sync",
        "spkver.training.state.checkpoint.write_json",
        "spkver.files.replace_directory",
    ):
        with monkeypatch.context() as patch, pytest.raises(RunError, match=r"\(No space left on device\)"):
            patch.setattr(target, Mock(side_effect=full))
            checkpoint.save(tmp_path, state(2), keep=1)
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"], target


def split_state(rank, size):
    """11 classes with two rows each, divided over the processes."""
    held = ranges(11, size)[rank]
    rows = torch.arange(44.0).view(22, 2)[2 * held.start : 2 * held.stop]
    own = {
        "state.w": rows,
        "state.shard": torch.tensor([held.start, held.stop, 11]),
        "optimizer.w|step": torch.tensor(7),
    }
    own["random.cpu"] = torch.tensor([rank])
    return Checkpoint(3, {"common": torch.ones(2), **own}, {}, frozenset(own))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("saved_by", [2, 3])
def test_split_head_is_divided_again(tmp_path, size, saved_by):
    write_ranks(tmp_path / "step-00000003", saved_by)
    for rank in range(size):
        found = checkpoint._read(tmp_path / "step-00000003", World(rank, size))
        expected = split_state(rank, size).tensors
        assert set(found.tensors) == set(expected) - ({"random.cpu"} if rank >= saved_by else set())
        for name, tensor in found.tensors.items():
            assert torch.equal(tensor, expected[name]), name
    assert torch.equal(
        checkpoint.read(tmp_path / "step-00000003").tensors["state.w"], split_state(0, 1).tensors["state.w"]
    )


def write_ranks(path, size):
    """Write the files of several processes from one."""
    path.mkdir()
    entries = []
    for rank in range(size):
        one, name = split_state(rank, size), checkpoint.shard_name(rank)
        tensors = {key: tensor for key, tensor in one.tensors.items() if rank == 0 or key in one.own}
        safetensors.torch.save_file(tensors, path / name)
        entries.append((name, sha256(path / name), one.tensors["state.shard"].tolist()))
    checkpoint._write_manifest(path / "manifest.json", one, entries)


def test_no_checkpoint(tmp_path):
    assert checkpoint.latest(tmp_path / "none", print) is None


def test_optimizer_state_has_the_layout_of_its_parameter():
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


@pytest.mark.parametrize("kind", [torch.optim.RAdam, torch.optim.Adafactor])
def test_other_optimizers_resume(kind):
    """Optimizers without a fused form, and with state of other shapes than the parameter."""

    def net():
        torch.manual_seed(0)
        made = torch.nn.Linear(5, 3)
        return made, kind(made.parameters(), lr=0.1), dict(made.named_parameters())

    def steps(made, optimizer, number):
        for _ in range(number):
            optimizer.zero_grad()
            made(torch.ones(2, 5)).square().sum().backward()
            optimizer.step()

    whole, again = net(), net()
    steps(*whole[:2], 2)
    saved = checkpoint.optimizer_state(whole[1], whole[2])
    saved = {name: tensor.clone() for name, tensor in saved.items()}
    again[0].load_state_dict(whole[0].state_dict())
    checkpoint.load_optimizer_state(again[1], again[2], saved)
    for made, optimizer, _ in (whole, again):
        steps(made, optimizer, 3)
    for one, other in zip(whole[0].parameters(), again[0].parameters()):
        assert torch.equal(one, other)
