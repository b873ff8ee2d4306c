"""Recipes that do not match their data are rejected before anything is written."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from spkver.config import load
from spkver.errors import InputError
from spkver.files import locked
from spkver.packs import Pack, PackWriter
from spkver.recipe import Recipe, build, train

QUIET = {"say": lambda text: None}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"data": {"train": "nowhere"}}, "nowhere: not a pack"),
        ({"data": {"dev": "TRAIN"}}, "speaker s0 is also in the training set; use other dev speakers"),
        ({"front_end": {"sample_rate": 16000}}, "audio at 8000 Hz, the front end takes 16000 Hz"),
        ({"data": {"crop_seconds": 0.1}}, "data.crop_seconds 0.1 is too short for xvector: at least 0.145"),
        (
            {"data": {"train": "FEATURES"}, "front_end": {"bins": 30}},
            "features made with bins 24, the front end has bins",
        ),
        ({"data": {"train": "FEATURES"}, "augment": {"speeds": [0.9, 1]}}, "a feature pack, but augment.waveform"),
        ({"data": {"train": "FEATURES"}, "augment": {"waveform": ["noise"]}}, "a feature pack, but augment.waveform"),
        ({"data": {"train": "FEATURES", "crop_seconds": 0.1}}, "too short for xvector"),
        ({"data": {"dev_trials": "nowhere"}}, "nowhere: cannot be read"),
        ({"data": {"max_utterances": 1}}, "at least two speakers, got 1"),
        ({"train": {"device": "teapot"}}, "device 'teapot' cannot be used here"),
        ({"data": {"utterances_per_speaker": 2}, "train": {"batch_size": 26}}, "12 speakers, but a batch of 26 with 2"),
    ],
)
def test_mismatch_is_rejected(recipe, packs, out, keys, message):
    paths = {"TRAIN": str(packs / "train"), "FEATURES": str(packs / "features")}
    if "data" in keys:
        keys = keys | {"data": {key: paths.get(value, value) for key, value in keys["data"].items()}}
    with pytest.raises(InputError) as caught:
        train(recipe(**keys), out, **QUIET)
    assert message in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train": {"final": "average"}}, "keep_checkpoints"),
        ({"train": {"final": "best"}, "data": {"dev": None}}, "set data.dev"),
        ({"model": "mean_fbank"}, "set front_end.normalise to none"),
        ({"augment": {"speeds": [1, 1]}}, "a speed is given twice"),
        ({"augment": {"speeds": []}}, "between 0.5 and 2"),
        ({"train": {"optimizer": {"name": "sgd", "betas": [0.9, 0.99]}}}, "train.optimizer: unknown key 'betas'"),
        ({"train": {"steps": -1}}, "train.steps"),
        ({"loss": "ge2e"}, "loss 'ge2e' compares utterances within a batch; set data.utterances_per_speaker to 2"),
        ({"loss": "triplet", "data": {"utterances_per_speaker": 5}}, "and train.batch_size to twice that or more"),
        ({"data": {"utterances_per_speaker": 3}}, "batch_size 8 is not a multiple of data.utterances_per_speaker 3"),
        ({"augment": {"speeds_as": "same"}}, "augment: speeds_as has no effect without other speeds"),
        ({"augment": {"waveform": [{"name": "reverb", "longest": 2}]}}, "longest has no effect without packs"),
        ({"loss": {"name": "ge2", "w": 1}}, "loss: unknown loss 'ge2'; did you mean 'ge2e'?"),
        ({"loss": {"name": "ge2e", "m": 1}}, "loss: unknown key 'm'"),
        ({"loss": {"head": {"s": -1}}}, "loss.head.s: Input should be greater than 0"),
        ({"train": {"margin_schedule": "constant"}}, "train: unknown key 'margin_schedule'"),
    ],
)
def test_invalid_recipe_is_rejected(recipe, keys, message):
    with pytest.raises(InputError, match=message):
        recipe(**keys)


def test_dev_features_with_training_audio_and_augmentation(recipe, packs, out):
    from spkver.packs import make_features

    parts = recipe(train={"steps": 1}, augment={"waveform": ["noise"]})
    make_features(packs / "dev", out.parent / "dev", parts.front_end)
    data = parts.data.model_copy(update={"dev": str(out.parent / "dev")})
    train(parts.model_copy(update={"data": data}), out, **QUIET)


def test_experiment_directories(recipe, out):
    parts = recipe(train={"steps": 1})
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match="not empty, and not an experiment directory"):
            train(parts, out, resume=resume, **QUIET)
    (out / "notes.txt").rename(out / ".config.yaml.x1.part")  # left by a process killed during its first write
    train(parts, out, resume=True, **QUIET)
    with pytest.raises(InputError, match="already contains a run"):
        train(parts, out, **QUIET)
    with locked(out), pytest.raises(InputError, match="in use by another run"):
        train(parts, out, resume=True, **QUIET)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train": {"batch_size": 9}}, "started with train.batch_size 8, not 9"),
        ({"train": {"optimizer": "adamw"}}, "started with train.optimizer.betas None, not"),
        ({"model": {"name": "xvector", "channels": 9}}, "started with model.channels 8, not 9"),
        ({"seed": 5}, "started with seed 1, not 5"),
    ],
)
def test_resuming_with_a_changed_recipe_is_rejected(recipe, out, keys, message):
    train(recipe(train={"steps": 1}), out, **QUIET)
    keys = keys | {"train": {"steps": 1, **keys.get("train", {})}}
    with pytest.raises(InputError, match=message):
        train(recipe(**keys), out, resume=True, **QUIET)


def test_resuming_with_allowed_changes(recipe, out):
    train(recipe(train={"steps": 1}), out, **QUIET)
    train(recipe(train={"steps": 1, "log_every": 7, "threads": None}), out, resume=True, **QUIET)


def test_saved_config_is_complete(recipe, out):
    parts = recipe(
        loss={"name": "bd_lmcl", "selector": {"k": 2}},
        augment={"speeds": [0.9, 1.0], "waveform": ["noise", {"name": "reverb", "rt60": [0.2, 0.3]}]},
        train={"steps": 0, "optimizer": "adamw"},
    )
    train(parts, out, **QUIET)
    assert load(Recipe, out / "config.yaml") == parts


def test_violated_bound_is_a_warning(recipe, out):
    told = []
    train(recipe(loss={"name": "lmcl", "head": {"s": 1}}, train={"steps": 1}), out, say=told.append)
    assert any(text.startswith("warning: scale s = 1 is below") for text in told)


def test_max_utterances(recipe, out):
    told = []
    train(recipe(data={"max_utterances": 10}, train={"steps": 1}), out, say=told.append)
    assert any(text.startswith("10 utterances, ") for text in told)


def test_empty_pack_is_rejected(recipe, tmp_path, out):
    with PackWriter(tmp_path / "empty", kind="audio", sample_rate=8000):
        pass
    with pytest.raises(InputError, match="at least two speakers, got 0"):
        train(recipe(data={"train": str(tmp_path / "empty")}), out, **QUIET)


def test_several_packs_share_speakers(recipe, packs, out):
    """A speaker name means the same speaker in all packs."""
    told = []
    parts = recipe(data={"train": [str(packs / "train")] * 2}, train={"steps": 1})
    train(parts, out, say=told.append)
    assert any(text.startswith("72 utterances, 12 speakers, ") for text in told)
    assert load(Recipe, out / "config.yaml") == parts
    with pytest.raises(InputError, match=r"data.train: expected at least one item, got \[\]"):
        recipe(data={"train": []})


def test_every_recording_as_a_speaker(recipe, packs, out):
    """SimCLR without labels: the pairs of a batch are two crops of one recording."""
    parts = recipe(
        data={"speakers": "recordings", "utterances_per_speaker": 2}, loss="simclr", train={"steps": 2, "log_every": 1}
    )
    batch = build(parts, out, print).learner.sampler.batch(0)
    assert sorted(np.unique(batch.rows, return_counts=True)[1]) == [2] * 4
    told = []
    train(parts, out, say=told.append)
    assert any(text.startswith("36 utterances, 36 speakers, ") for text in told)
    assert "loss" in (out / "metrics.jsonl").read_text()


def test_speakers_of_a_file(recipe, packs, out, tmp_path):
    ids = Pack.open(packs / "train").ids
    labels = tmp_path / "labels"
    labels.write_text("".join(f"{name} g{number % 5}\n" for number, name in enumerate(ids[:20])) + "another g7\n")
    told = []
    train(recipe(data={"speakers": str(labels)}, train={"steps": 1}), out, say=told.append)
    assert any(text.startswith("20 utterances, 5 speakers, ") for text in told)
    assert str(labels) in (out / "starts.jsonl").read_text()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a b\n", "names no utterance of .*train, whose first one is 's0/"),
        ("a b\na c\n", "'a' is named twice"),
        ("a\n", "labels:1"),
    ],
)
def test_unusable_speakers_are_rejected(recipe, out, tmp_path, lines, message):
    (tmp_path / "labels").write_text(lines)
    with pytest.raises(InputError, match=message):
        train(recipe(data={"speakers": str(tmp_path / "labels")}), out, **QUIET)
    assert not out.exists()


def test_crop_schedule(recipe, tmp_path):
    """Lengths are rounded to 0.1 s, and are the same in a resumed run."""
    grows = {"name": "piecewise", "unit": "step", "points": [[0, 0.5], [4, 1]]}
    parts = recipe(data={"crop_seconds": 0.6, "crop_schedule": grows}, train={"steps": 6})
    sampler = build(parts, tmp_path, QUIET["say"]).learner.sampler
    assert [sampler.crop_at(step) / 8000 for step in range(6)] == [0.3, 0.4, 0.4, 0.5, 0.6, 0.6]
    train(parts, tmp_path / "a", **QUIET)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "step-00000006")
    (tmp_path / "b" / "complete").unlink()
    train(parts, tmp_path / "b", resume=True, **QUIET)
    one, other = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in "ab")
    assert one == other
    other_lengths = recipe(data={"crop_seconds": 0.6, "crop_schedule": "constant"}, train={"steps": 6})
    with pytest.raises(InputError, match=r"the run was started with data.crop_schedule"):
        train(other_lengths, tmp_path / "a", resume=True, **QUIET)


def test_crop_schedule_that_starts_too_short_is_rejected(recipe, out):
    short = {"name": "linear", "initial": 0.1, "final": 1}
    with pytest.raises(InputError, match=r"data.crop_seconds 0 is too short for xvector: at least 0.145"):
        train(recipe(data={"crop_schedule": short}), out, **QUIET)


def test_a_seed_that_no_generator_takes_is_refused(write_recipe):
    with pytest.raises(InputError, match=r"seed: .*less than 9223372036854775808"):
        load(Recipe, write_recipe(), [f"seed={2**63}"])


def test_negative_learning_rates_are_refused(write_recipe):
    with pytest.raises(InputError, match=r"train: lr_schedule must not be negative, got \[1.0, -1.0\]"):
        load(Recipe, write_recipe(), ["train.lr_schedule={name: linear, initial: 1, final: -1}"])


def test_untrained_model_of_a_recipe_with_growing_crops(recipe, out):
    """One recording at a time is a batch that is tried before the first step, of which there is none."""
    keys = {"data": {"crop_schedule": {"name": "linear", "initial": 0.5, "final": 1}}}
    with pytest.raises(InputError, match="one utterance at a time"):
        build(recipe(**keys, train={"steps": 0, "batch_size": 1}), out, str)
    train(recipe(**keys, train={"steps": 0}), out)
