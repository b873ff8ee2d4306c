from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from spkver import load_model
from spkver.errors import InputError
from spkver.packs import Pack
from spkver.recipe import average, train
from spkver.training.config import EMAConfig
from spkver.training.monitoring.validation import DevSet
from spkver.training.state import checkpoint
from spkver.training.state.head import SavedHead
from spkver.training.step.ema import EMA

QUIET = {"say": lambda text: None}


def test_average_equals_the_formula():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).double()
    ema = EMA(EMAConfig(decay=0.6), module)
    expected = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random = torch.Generator().manual_seed(0)
    for step in range(20):
        decay = min(0.6, (1 + step) / (10 + step))
        assert ema.decay(step) == decay
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=random))
                expected[name] = decay * expected[name] + (1 - decay) * tensor
        ema.update(step)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with ema.applied():
        torch.testing.assert_close(dict(module.state_dict()), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert "1.num_batches_tracked" not in ema.state() and "1.running_var" in ema.state()


def test_constant_decay():
    assert EMA(EMAConfig(decay=0.9, warm_up=False), nn.Linear(1, 1)).decay(0) == 0.9


def test_dev_error_and_model_use_the_average(recipe, packs, tmp_path):
    """The training itself does not change."""
    told = []
    settings = {"steps": 6, "dev_every": 6, "precision": "fp32"}
    parts = recipe(train=settings | {"ema": {"decay": 0.5}})
    train(parts, tmp_path / "a", say=told.append)
    train(recipe(train=settings), tmp_path / "b", **QUIET)
    states = [checkpoint.read(checkpoint.saved(tmp_path / name / "checkpoints")[-1]).tensors for name in "ab"]
    for name, tensor in states[1].items():
        assert torch.equal(states[0][name], tensor), name
    model = load_model(tmp_path / "a" / "model")
    averages = checkpoint.part(states[0], "ema.network.")
    assert averages and all(torch.equal(model.network.state_dict()[name], tensor) for name, tensor in averages.items())
    assert not torch.equal(averages["segment.0.weight"], states[0]["state.network.segment.0.weight"])
    assert torch.equal(SavedHead.read(tmp_path / "a" / "model").state["head.weight"], states[0]["ema.loss.head.weight"])
    rates = DevSet.open(Pack.open(packs / "dev"), None, set()).error_rates(model)
    assert any(f"dev EER {rates['dev_eer']:.2%}" in text for text in told)


@pytest.mark.parametrize("final", ["last", "best", "average"])
def test_resumed_run_is_identical(recipe, tmp_path, killed, final):
    many = {"keep_checkpoints": 5, "average_last": 2, "checkpoint_every": 2, "dev_every": 2, "final": final}
    parts = recipe(train={"steps": 6, "ema": {}, "optimizer": "adamw", **many})
    train(parts, tmp_path / "a", **QUIET)
    killed()
    torch.manual_seed(7)
    train(parts, tmp_path / "b", resume=True, **QUIET)
    for name in ("model/model.safetensors", "model-head.safetensors", "model/card.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    last = [checkpoint.read(checkpoint.saved(tmp_path / name / "checkpoints")[-1]) for name in "ab"]
    assert last[0].numbers == last[1].numbers
    assert all(torch.equal(tensor, last[1].tensors[name]) for name, tensor in last[0].tensors.items())
    if final == "average":
        paths = checkpoint.saved(tmp_path / "a" / "checkpoints")[-2:]
        means = [checkpoint.part(checkpoint.read(path).tensors, "ema.network.")["segment.0.weight"] for path in paths]
        weight = load_model(tmp_path / "a" / "model").network.state_dict()["segment.0.weight"]
        np.testing.assert_allclose(weight, (means[0] + means[1]) / 2, rtol=1e-6)


@pytest.mark.parametrize("ema", [None, {}])
def test_mean_of_the_checkpoints_of_a_finished_run(recipe, tmp_path, ema):
    """Equal to the result of `final: average`."""
    many = {"keep_checkpoints": 3, "average_last": 2, "checkpoint_every": 2, "steps": 6, "ema": ema}
    told = []
    for name, final in (("a", "average"), ("b", "last")):
        train(recipe(train=many | {"final": final}, data={"dev": None}), tmp_path / name, **QUIET)
    average(tmp_path / "b", tmp_path / "mean", last=2, say=told.append)
    for file in ("model/model.safetensors", "model-head.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / file.replace("model", "mean", 1)).read_bytes()
    assert told == [f"model: {tmp_path / 'mean'}, mean of step-00000004 to step-00000006, 2 checkpoints"]
    newest = checkpoint.saved(tmp_path / "b" / "checkpoints")[-1] / "rank-0.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match=r"damaged \(its hash differs"):
        average(tmp_path / "b", tmp_path / "mean", last=2)
    with pytest.raises(InputError, match="has 3 checkpoints, not 4"):
        average(tmp_path / "b", tmp_path / "mean", last=4)
    with pytest.raises(InputError, match="not an experiment directory"):
        average(tmp_path, tmp_path / "mean", last=1)
