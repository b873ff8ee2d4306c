"""DINO in the training loop: the average of the weights is teacher and model, and resumed runs are identical."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch
from torch import nn

from spkver import load_model
from spkver.errors import InputError
from spkver.recipe import build, dry_run, train
from spkver.training import estimate
from spkver.training.parallel.distributed import World
from spkver.training.state import checkpoint

QUIET = {"say": lambda text: None}
SMALL = {"name": "dino", "projection": {"hidden": 16, "bottleneck": 8, "prototypes": 32}}
AVERAGE = {"decay": 0.8, "warm_up": False}
PAIRS = {"speakers": "recordings", "utterances_per_speaker": 2, "local": {"crops": 3, "seconds": 0.2}, "dev": None}
POSITIVES = {"neighbours": 3, "start": 0.3, "every": 2}


@pytest.fixture
def dino(recipe):
    """A small recipe with DINO; `data` and `train` change it."""

    def make(*, data=None, train=None, **keys):
        settings = {"ema": AVERAGE, "log_every": 1, "precision": "fp32"}
        return recipe(**{"loss": SMALL, "data": PAIRS | (data or {}), "train": settings | (train or {})} | keys)

    return make


def records(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def last_of(out):
    return checkpoint.read(checkpoint.saved(out / "checkpoints")[-1])


def test_teacher_equals_a_network_with_the_averaged_weights(dino, out):
    """It normalises with the statistics of the batch, and running statistics stay those of the student."""
    learner = build(dino(), out, **QUIET).learner
    learner.train()
    for step in range(2):
        learner.step(step, learner.inputs.batch(step))
    average = learner.ema.state()
    network, projection = copy.deepcopy(learner.encoder.network), copy.deepcopy(learner.loss.projection)
    for module, prefix in ((network, "network."), (projection, "loss.projection.")):
        module.load_state_dict(module.state_dict() | checkpoint.part(average, prefix))
    features, given = learner.teacher.inputs(learner.inputs, learner.inputs.batch(2))
    before = {name: tensor.clone() for name, tensor in learner.state().items()}
    targets = learner.teacher(given, torch.arange(len(given)), bf16=False)
    with torch.no_grad():
        assert torch.equal(targets, projection(network(features)))
    assert targets.shape == (8, 32) and not targets.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.state().items())
    student = learner.loss.projection(learner.encoder.network(features))
    assert not torch.allclose(targets, student)


def test_model_is_the_teacher(dino, out):
    train(dino(), out, **QUIET)
    tensors = last_of(out).tensors
    averages = checkpoint.part(tensors, "ema.network.")
    saved = load_model(out / "model").network.state_dict()
    assert averages and all(torch.equal(saved[name], tensor) for name, tensor in averages.items())
    assert any(not torch.equal(tensor, tensors[f"state.network.{name}"]) for name, tensor in averages.items())


def test_it_learns_without_a_collapse(dino, out):
    settings = {"steps": 60, "log_every": 20, "lr_schedule": "constant", "batch_size": 24, "optimizer": {"lr": 0.03}}
    train(dino(train=settings), out, **QUIET)
    assert re.search(r"teacher entropy \d\.\d\d  batch entropy \d\.\d\d  ", (out / "train.log").read_text())
    found = records(out)
    assert found[-1]["loss"] < 0.8 * found[0]["loss"]
    assert all(one["batch_entropy"] > one["teacher_entropy"] + 0.5 for one in found)
    assert not {"margin_accuracy", "boundary_share"} & set(found[0])


def test_decay_of_the_average_rises(dino, out):
    cosine = {"name": "piecewise", "points": [[0, 1], [1, 0]], "shape": "cosine"}
    ema = build(dino(train={"ema": AVERAGE | {"schedule": cosine}}), out, **QUIET).learner.ema
    assert [ema.decay(step) for step in (0, 4, 8)] == pytest.approx([0.8, 0.9, 1.0])
    with pytest.raises(InputError, match=r"train.ema: schedule must stay between 0 and 1, got \[1.0, 2.0\]"):
        dino(train={"ema": {"schedule": {"name": "linear", "initial": 1, "final": 2}}})


@pytest.mark.parametrize("loss", [SMALL, "simclr"])
def test_resumed_run_with_positives_is_identical(dino, tmp_path, killed, loss):
    """Killed before and after the first search for positives."""
    keys = {"steps": 6, "checkpoint_every": 2, "keep_checkpoints": 3}
    parts = dino(loss=loss, data={"positives": POSITIVES}, train=keys)
    train(parts, tmp_path / "a", **QUIET)
    killed()
    torch.manual_seed(7)
    train(parts, tmp_path / "b", resume=True, **QUIET)
    one, other = (last_of(tmp_path / name) for name in "ab")
    assert set(one.tensors) == set(other.tensors) and {"positives.memory", "positives.nearest"} < set(one.tensors)
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    assert [one["positives"] for one in records(tmp_path / "a")][:2] == [0, 0]
    assert records(tmp_path / "a")[-1]["positives"] > 0


def test_embeddings_in_the_memory_are_those_of_the_first_crops(dino, out):
    learner = build(dino(data={"positives": POSITIVES}), out, **QUIET).learner
    learner.train()
    batch = learner.inputs.batch(0)
    embeddings = learner.encoder.network(learner.inputs.features(batch))
    learner.step(0, batch)
    memory = learner.sampler.positives.memory
    known = memory.any(dim=1).nonzero()[:, 0]
    assert known.tolist() == sorted(batch.labels[::2].tolist()) and len(known) == 4
    expected = nn.functional.normalize(embeddings[::2], dim=1)
    torch.testing.assert_close(memory[batch.labels[::2]], expected.detach(), rtol=1e-4, atol=1e-5)


def test_dry_run(dino, out, monkeypatch):
    monkeypatch.setattr(estimate, "SECONDS", 0.0)
    told = []
    dry_run(dino(data={"positives": POSITIVES}), out, say=told.append)
    assert any("memory" in text for text in told)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train": {"ema": None}}, "loss 'dino' learns from the moving average of the weights; set train.ema"),
        ({"distil": {"model": "m"}}, "loss 'dino' has the moving average of the weights as teacher; leave out distil"),
        ({"data": {"utterances_per_speaker": None}}, "loss 'dino' compares utterances within a batch"),
        ({"train": {"accumulate": 2}}, "loss 'dino' compares utterances within a batch; set train.accumulate to 1"),
        ({"data": {"speakers": None, "positives": {}}}, "data.positives finds .*; set data.speakers to recordings"),
    ],
)
def test_settings_that_do_not_fit_are_rejected(dino, keys, message):
    with pytest.raises(InputError, match=message):
        dino(**keys)


def test_short_crops_that_are_too_short_are_rejected(dino, out):
    with pytest.raises(InputError, match=r"data.local.seconds 0.1 is too short for xvector: at least 0.145"):
        build(dino(data={"local": {"seconds": 0.1}}), out, **QUIET)


def test_processes_get_whole_recordings(dino, out):
    with pytest.raises(InputError, match=r"not a multiple of 4 processes times .*_speaker 2; set it to 16"):
        build(dino(train={"batch_size": 12}), out, **QUIET, world=World(1, 4, 1, 4))
