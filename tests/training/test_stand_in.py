"""A training step without a GPU: torch's meta device has shapes but no data. So an operation that would make the host
wait for a GPU (it reads a value, or its output size depends on values) or that mixes devices raises an error there.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from spkver.losses import LOSSES, SELECTORS, WEIGHTINGS
from spkver.losses.reductions.base import Reduction
from spkver.models import MODELS
from spkver.recipe import build, train
from spkver.training.parallel.distributed import World

META = torch.device("meta")
COPIES = {torch.ops.aten._to_copy.default: 0, torch.ops.aten.copy_.default: 1}
"""Operations that can copy data between devices, with the argument that is the source."""
NETWORKS = [name for name in MODELS if name not in ("mean_fbank", "ssl")]  # no parameters; needs transformers


class Waits(TorchDispatchMode):
    """Counts copies between devices for which the host would wait."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        given = kwargs or {}
        result = op(*args, **given)
        if op in COPIES and args[COPIES[op]].device != result.device:
            self.count += not (given.get("non_blocking") or any(one is True for one in args))
        return result


@pytest.fixture
def waits(recipe, monkeypatch):
    """Count the waits in a step of a recipe, after two steps that may fill tables."""

    def count(**keys):
        monkeypatch.setattr(World, "device", lambda self, name: META)
        monkeypatch.setattr(
            torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext()
        )  # not available on meta
        parts = recipe(**keys, train={"device": "cpu", "precision": "fp32", "ema": {"decay": 0.9}})
        learner = build(parts, Path("unused"), lambda text: None).learner
        # on a GPU, the optimizer is fused and skips steps itself
        monkeypatch.setattr(learner.guard, "update", lambda finite: learner.optimizer.step())
        learner.train()
        batches = [learner.inputs.batch(step).each(lambda tensor: tensor.to(META)) for step in range(3)]
        for step in range(2):
            learner.step(step, batches[step])
        with Waits() as waits:
            outcome = learner.step(2, batches[2])
        assert {tensor.device for tensor in outcome.values.values()} == {META}
        return waits.count

    return count


def test_waits_are_counted():
    with Waits() as waits:
        torch.ones(3).to(META)
        torch.ones(3).to(META, non_blocking=True)
        torch.empty(3, device=META).copy_(torch.ones(3))
    assert waits.count == 2
    with pytest.raises(RuntimeError):
        bool(torch.ones((), device=META))
    with pytest.raises(RuntimeError):
        torch.ones(3, device=META) + torch.ones(3)
    with pytest.raises(NotImplementedError):
        torch.ones(3, device=META)[torch.ones(3, device=META) > 0]


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_do_not_wait(waits, loss):
    assert not waits(loss=loss, data={"utterances_per_speaker": 2})


@pytest.mark.parametrize("selector", SELECTORS)
def test_selectors_do_not_wait(waits, selector):
    assert not waits(loss={"name": "lmcl", "selector": selector})


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weightings_do_not_wait(waits, weighting):
    assert not waits(loss={"name": "bd_lmcl", "weighting": weighting})


def test_chunked_head_does_not_wait(waits, monkeypatch):
    monkeypatch.setattr(Reduction, "sparse_own", False)  # meta has no sparse tensors
    assert not waits(loss={"name": "bd_lmcl", "head": {"reduction": "chunked"}})


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_do_not_wait(waits, name):
    assert not waits(model=name, data={"crop_seconds": 0.5})


def test_augmentations_do_not_wait(waits, packs):
    dev = str(packs / "dev")
    measured = [
        {"name": "reverb", "packs": dev, "longest": 0.2, "probability": 0.6},
        {"name": "noise", "packs": {"noise": dev, "babble": dev}},
        *("equaliser", "drop_freq", "drop_chunk"),
    ]
    assert not waits(augment={"speeds": [0.9, 1.0], "waveform": measured, "features": ["spec_augment"]})
    assert not waits(augment={"waveform": ["reverb", "noise"]})


def test_feature_packs_do_not_wait(waits, packs):
    assert not waits(data={"train": str(packs / "features")}, augment={"features": ["spec_augment"]})


def test_distillation_does_not_wait(waits, recipe, tmp_path):
    train(recipe(train={"steps": 0}), tmp_path / "teacher", say=lambda text: None)
    teacher = {"model": str(tmp_path / "teacher" / "model"), "clean": True}
    assert not waits(distil=teacher, augment={"waveform": ["noise"]})
