"""Fine-tuning: larger margin, other speakers, frozen layers, learning rates by parameter name."""

from __future__ import annotations

import shutil

import pytest
import safetensors.torch
import torch

from spkver import load_model
from spkver.config import load, validate
from spkver.errors import InputError
from spkver.packs import Pack, PackWriter, make_features
from spkver.recipe import Recipe, build, train
from spkver.training.data.classes import Class
from spkver.training.state import checkpoint
from spkver.training.state.head import SavedHead, head_file

QUIET = {"say": lambda text: None}


@pytest.fixture(scope="module")
def trained(packs, tmp_path_factory):
    """A run with 12 speakers at two speeds, from which other runs start."""
    tree = {
        "data": {"train": str(packs / "train"), "dev": str(packs / "dev"), "crop_seconds": "0.4"},
        "front_end": {"sample_rate": "8000", "bins": "24", "high_hz": "3600"},
        "model": {"name": "xvector", "channels": "8", "pooled_channels": "16", "dim": "8"},
        "loss": "lmcl",
        "augment": {"speeds": ["0.9", "1"]},
        "train": {"steps": "6", "batch_size": "8", "dev_every": "3", "device": "cpu", "threads": "1", "final": "best"},
    }
    out = tmp_path_factory.mktemp("trained") / "a"
    train(validate(Recipe, tree), out, **QUIET)
    return out


def test_head_is_saved_beside_the_model(trained):
    saved = SavedHead.read(trained / "model")
    assert len(saved.classes) == 24 and saved.classes[0] == Class("s0", 0.9) and saved.classes[12] == Class("s0")
    assert saved.state["head.weight"].shape == (24, 8)
    assert {path.name for path in (trained / "model").iterdir()} == {"model.safetensors", "config.yaml", "card.md"}
    # the best model has the head of its own step, not that of the last
    best = SavedHead.read(trained / "model-best")
    assert torch.equal(best.state["head.weight"], saved.state["head.weight"])


def started(trained, recipe, out, head, **keys):
    told = []
    parts = recipe(start={"model": str(trained / "model"), "head": head}, **keys)
    learner = build(parts, out, told.append).learner
    return learner, SavedHead.read(trained / "model"), told


def test_large_margin_fine_tuning(trained, recipe, out):
    """Longer crops, a larger margin, no speeds: class weights at speed 1 are kept."""
    learner, saved, told = started(
        trained, recipe, out, "keep", loss={"name": "aam", "m": 0.5}, data={"crop_seconds": 0.6}
    )
    assert torch.equal(learner.loss.head.weight, saved.state["head.weight"][12:])
    assert any("12 of 12 classes with its weights" in text for text in told)
    network = load_model(trained / "model").network.state_dict()
    assert all(torch.equal(tensor, network[name]) for name, tensor in learner.encoder.network.state_dict().items())


def test_features_at_a_speed_belong_to_the_same_classes(trained, recipe, out, packs, tmp_path):
    front_end = load_model(trained / "model").config.front_end
    make_features(packs / "train", tmp_path / "feats", front_end, speeds=[0.9])
    learner, saved, told = started(trained, recipe, out, "keep", data={"train": str(tmp_path / "feats"), "dev": None})
    assert any("24 of 24 classes with its weights" in text for text in told)
    rows = dict(zip(saved.classes, saved.state["head.weight"]))
    assert all(torch.equal(row, rows[one]) for one, row in zip(learner.classes, learner.loss.head.weight))


@pytest.fixture
def others(packs, tmp_path):
    """A pack with the speakers s10 and s11 (known) and s20 (unknown)."""
    source = Pack.open(packs / "train")
    with PackWriter(tmp_path / "others", kind="audio", sample_rate=8000) as pack:
        for row, (name, speaker) in enumerate(zip(source.ids, source.speakers)):
            if speaker in ("s9", "s10", "s11"):
                pack.add(name, "s20" if speaker == "s9" else speaker, "", source[row])
    return str(tmp_path / "others")


def test_keep_rejects_unknown_speakers(trained, recipe, out, others):
    with pytest.raises(InputError, match=r"model-head.safetensors does not have the speaker s20; set start.head to"):
        started(trained, recipe, out, "keep", data={"train": others, "dev": None})
    with pytest.raises(InputError, match=r"does not have the speaker s0 at speed 1\.1"):
        started(trained, recipe, out, "keep", augment={"speeds": [1.0, 1.1]})


def test_extend_adds_speakers(trained, recipe, out, others):
    learner, saved, _ = started(trained, recipe, out, "extend", data={"train": others, "dev": None})
    names = [str(one) for one in learner.classes]
    assert (
        names[:3] == ["s10", "s11", "s20"] and len(names) == 1 + 24
    )  # speakers of the data, then the others of the model
    rows = dict(zip(saved.classes, saved.state["head.weight"]))
    for one, row in zip(learner.classes, learner.loss.head.weight):
        assert one == Class("s20") or torch.equal(row, rows[one])
    train(
        recipe(start={"model": str(trained / "model"), "head": "extend"}, data={"train": others, "dev": None}),
        out,
        **QUIET,
    )
    assert len(SavedHead.read(out / "model").classes) == 25


def test_replace_draws_new_weights(trained, recipe, out, others, tmp_path):
    learner, _, told = started(trained, recipe, out, "replace", data={"train": others, "dev": None})
    assert learner.loss.head.weight.shape == (3, 8) and any("0 of 3 classes" in text for text in told)
    shutil.copytree(trained / "model", tmp_path / "given")  # a model without its head
    parts = recipe(start={"model": str(tmp_path / "given")})
    with pytest.raises(InputError, match=r"given-head.safetensors: missing, .* set start.head to replace"):
        build(parts, out, print)
    build(parts.model_copy(update={"start": parts.start.model_copy(update={"head": "replace"})}), out, QUIET["say"])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": {"name": "xvector", "channels": 9}}, "has model.channels 8, the config has 9; take front_end"),
        ({"front_end": {"bins": 23}}, "has front_end.bins 24, the config has 23"),
        ({"loss": {"name": "sub_centre_aam"}}, r"weight has shape \(1, 8\) per class, that of the loss is \(3, 8\)"),
        ({"loss": "softmax"}, r"of another kind of loss \(no class bias\)"),
    ],
)
def test_mismatch_is_rejected(trained, recipe, out, keys, message):
    with pytest.raises(InputError, match=message):
        started(trained, recipe, out, "keep", **keys)


def test_unreadable_files_are_rejected(trained, recipe, out, tmp_path):
    with pytest.raises(InputError, match="nowhere: not a model directory"):
        build(recipe(start={"model": "nowhere"}), out, print)
    with pytest.raises(InputError, match="is a file and cannot be trained further"):
        build(recipe(start={"model": str(trained / "model" / "config.yaml")}), out, print)
    shutil.copytree(trained, tmp_path / "a")
    file = head_file(tmp_path / "a" / "model")
    for damage in (b"", file.read_bytes()[:-1]):
        file.write_bytes(damage)
        with pytest.raises(InputError, match=r"model-head.safetensors: cannot be read"):
            build(recipe(start={"model": str(tmp_path / "a" / "model")}), out, print)
    safetensors.torch.save_file({"head.weight": torch.zeros(2, 8)}, file)
    with pytest.raises(InputError, match=r"model-head.safetensors: cannot be read"):
        SavedHead.read(tmp_path / "a" / "model")


def test_other_parameters_of_the_loss_are_copied(recipe, tmp_path):
    parts = recipe(loss="sphereface2", data={"dev": None}, train={"steps": 3})
    train(parts, tmp_path / "a", **QUIET)
    told = []
    again = recipe(loss="sphereface2", data={"dev": None}, start={"model": str(tmp_path / "a" / "model")})
    learner = build(again, tmp_path / "b", told.append).learner
    kept = SavedHead.read(tmp_path / "a" / "model").state
    assert all(torch.equal(tensor, kept[name]) for name, tensor in learner.loss.state_dict().items())


PLAIN = {
    "optimizer": {"name": "sgd", "momentum": 0, "weight_decay": 0, "lr": 0.01},
    "clip_norm": None,
    "steps": 1,
    "lr_schedule": "constant",
    "precision": "fp32",
}
"""One step of gradient descent."""


def state(out):
    return checkpoint.read(checkpoint.saved(out / "checkpoints")[-1]).tensors


def test_frozen_layers_do_not_change(trained, recipe, tmp_path):
    """Including running statistics, also after validation."""
    start, before = {"model": str(trained / "model")}, load_model(trained / "model").network.state_dict()
    few = {"steps": 3, "dev_every": 1}
    for name, freeze in {"all": [], "some": ["network.frame"]}.items():
        train(recipe(start=start, train=PLAIN | few | {"freeze": freeze}), tmp_path / name, **QUIET)
    learnt, kept = state(tmp_path / "all"), state(tmp_path / "some")
    for key, tensor in before.items():
        assert torch.equal(kept[f"state.network.{key}"], tensor) == key.startswith("frame.")
        assert not torch.equal(learnt[f"state.network.{key}"], tensor)


def test_factors_scale_the_step(recipe, tmp_path):
    ways = {}
    for name, factors in {"none": {}, "some": {"network": 0.5, "loss.head": 4}}.items():
        parts = recipe(train=PLAIN | {"lr_factors": factors}, data={"dev": None})
        first = {key: value.clone() for key, value in build(parts, tmp_path, QUIET["say"]).learner.parameters.items()}
        train(parts, tmp_path / name, **QUIET)
        after = state(tmp_path / name)
        ways[name] = {key: after[f"state.{key}"] - value.detach() for key, value in first.items()}
    for key, way in ways["none"].items():
        factor = 4 if key == "loss.head.weight" else 0.5
        torch.testing.assert_close(ways["some"][key], factor * way, rtol=1e-3, atol=1e-6)


def test_fine_tuning_resumes_exactly(trained, recipe, tmp_path):
    parts = recipe(
        start={"model": str(trained / "model")},
        train={
            "steps": 5,
            "freeze": ["network.frame.0"],
            "lr_factors": {"loss": 10},
            "keep_checkpoints": 5,
            "optimizer": "adamw",
        },
    )
    train(parts, tmp_path / "a", **QUIET)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "step-00000005")
    (tmp_path / "b" / "complete").unlink()
    train(parts, tmp_path / "b", resume=True, **QUIET)
    for name in ("model/model.safetensors", "model-head.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert load(Recipe, tmp_path / "a" / "config.yaml") == parts
    assert f"crops of 0.4 s, starting from {trained / 'model'}." in (tmp_path / "a" / "model" / "card.md").read_text()


def test_same_speaker_at_all_speeds(recipe, out):
    parts = recipe(augment={"speeds": [0.9, 1.0], "speeds_as": "same"}, data={"dev": None}, train={"steps": 1})
    train(parts, out, **QUIET)
    assert [str(one) for one in SavedHead.read(out / "model").classes] == sorted(f"s{n}" for n in range(12))
