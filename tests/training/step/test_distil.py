"""A small network learns from the embeddings of a large one."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, cosine
from torch import nn

from spkver.config import validate
from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.extraction import extract
from spkver.packs import Pack, PackWriter
from spkver.recipe import Recipe, build, train
from spkver.training.config import DistilConfig
from spkver.training.state import checkpoint
from spkver.training.step.distil import Distillation

QUIET = {"say": lambda text: None}
FRONT_END = {"sample_rate": "8000", "bins": "24", "high_hz": "3600"}
AUGMENT = {"waveform": ["noise"], "features": ["spec_augment"]}


@pytest.fixture(scope="module")
def teachers(packs, tmp_path_factory):
    """Models with random weights by name, with batch norm statistics of the data."""
    folder, source = tmp_path_factory.mktemp("teachers"), Pack.open(packs / "train")
    waveforms = torch.from_numpy(np.stack([source[row][:3200] for row in range(len(source))])).float() / 32768

    def write(name, dim, **front_end):
        model = {"name": "xvector", "channels": "8", "pooled_channels": "16", "dim": str(dim)}
        encoder = Encoder(validate(EncoderConfig, {"front_end": FRONT_END | front_end, "model": model}))
        for norm in encoder.modules():
            if isinstance(norm, nn.BatchNorm1d):
                norm.momentum = 1.0
        encoder.train()(waveforms)
        encoder.save(folder / name)

    torch.manual_seed(5)
    write("same_size", 8)
    write("other_size", 12)
    write("dithered", 8, dither="0.1")
    write("other_bins", 12, bins="20")
    write("other_rate", 8, sample_rate="16000")
    (folder / "a.onnx").touch()
    return folder


@pytest.fixture
def learning(recipe, teachers):
    """A recipe with a teacher: `learning("same_size", weight=2, train={...})`."""

    def make(teacher, *, weight=1.0, clean=False, centre=False, **keys):
        distil = {"model": str(teachers / teacher), "weight": weight, "clean": clean, "centre": centre}
        return recipe(distil=distil, **keys)

    return make


def state(out):
    return checkpoint.read(checkpoint.saved(out / "checkpoints")[-1]).tensors


@pytest.mark.parametrize(("dim", "teacher_dim"), [(8, 8), (8, 12)])
def test_loss_equals_scipys_cosine_distance(dim, teacher_dim):
    distil = Distillation(DistilConfig(model="m", weight=0.7), dim, teacher_dim)
    own, targets = torch.randn(5, dim, dtype=torch.float32), torch.randn(5, teacher_dim)
    loss, mean = distil(own, targets)
    mapped = own if dim == teacher_dim else own @ distil.map.weight.detach().T
    expected = sum(cosine(a, b) for a, b in zip(mapped.double().numpy(), targets.double().numpy())) / 5
    assert float(loss.detach()) == pytest.approx(0.7 * expected, rel=1e-5)
    assert float(mean) == pytest.approx(1 - expected, rel=1e-5, abs=1e-6) and not mean.requires_grad


@pytest.mark.parametrize("teacher", ["same_size", "other_size", "other_bins"])
def test_only_student_and_map_get_gradients(learning, out, teacher):
    learner = build(learning(teacher), out, **QUIET).learner
    learner.train()
    before = {name: tensor.clone() for name, tensor in learner.teacher.encoder.state_dict().items()}
    learner.step(0, learner.inputs.batch(0))
    maps = [name for name in learner.parameters if name.startswith("distil.")]
    assert maps == ([] if teacher == "same_size" else ["distil.map.weight"])
    assert all(float(learner.parameters[name].grad.norm()) > 0 for name in maps)
    assert not any(name.startswith("teacher") for name in learner.state())
    theirs = learner.teacher.encoder
    assert not theirs.training and not any(one.requires_grad or one.grad is not None for one in theirs.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in theirs.state_dict().items())


@pytest.mark.parametrize(
    ("teacher", "clean", "kind"),
    [
        ("same_size", False, "features"),
        ("dithered", False, "features"),
        ("same_size", True, "clean"),
        ("other_bins", False, "waveform"),
        ("other_bins", True, "clean"),
    ],
)
def test_inputs_of_the_teacher(learning, out, teacher, clean, kind):
    learner = build(learning(teacher, clean=clean, augment=AUGMENT), out, **QUIET).learner
    batch = learner.inputs.batch(0)
    features, of_teacher = learner.teacher.inputs(learner.inputs, batch)
    assert torch.equal(features, learner.inputs.features(batch))
    crop = batch.groups[0][1].float() / 32768
    waveform = learner.inputs.augmentations.waveform[0](crop, batch.drawn[0])
    front_end = learner.teacher.encoder.front_end
    expected = {"features": features, "clean": front_end(crop), "waveform": front_end(waveform)}
    torch.testing.assert_close(of_teacher, expected.pop(kind), atol=1e-4, rtol=1e-4)
    assert not any(
        one.shape == of_teacher.shape and torch.allclose(one, of_teacher, atol=1e-3) for one in expected.values()
    )


@pytest.mark.parametrize("clean", [False, True])
def test_teacher_with_a_feature_pack(learning, packs, out, clean):
    keys = {"data": {"train": str(packs / "features")}, "augment": {"features": ["spec_augment"]}}
    learner = build(learning("same_size", clean=clean, **keys), out, **QUIET).learner
    features, of_teacher = learner.teacher.inputs(learner.inputs, learner.inputs.batch(0))
    assert torch.equal(features, of_teacher) != clean


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_zero_changes_nothing(learning, recipe, tmp_path, optimizer):
    """Although everything is computed, including a map: random numbers and sums are the same."""
    keys = {"train": {"steps": 4, "optimizer": optimizer, "ema": {}}, "augment": AUGMENT}
    keys["front_end"] = {"dither": 0.1}
    train(recipe(**keys), tmp_path / "a", **QUIET)
    train(learning("other_size", weight=0, **keys), tmp_path / "b", **QUIET)
    plain, other = state(tmp_path / "a"), state(tmp_path / "b")
    added = [name for name in other if name not in plain and "distil" not in name]
    assert added == [] and all(torch.equal(tensor, other[name]) for name, tensor in plain.items())
    for name in ("model/model.safetensors", "model-head.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.parametrize("teacher", ["same_size", "other_bins"])
def test_student_approaches_the_teacher(learning, teachers, tmp_path, teacher):
    settings = {"steps": 40, "log_every": 8, "dev_every": 40, "optimizer": {"name": "adamw", "lr": 0.01}}
    settings["lr_schedule"] = "constant"
    cosines = {}
    for weight in (0, 100):
        out = tmp_path / str(weight)
        train(learning(teacher, weight=weight, train=settings), out, **QUIET)
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        cosines[weight] = [one["distil_cosine"] for one in records if "distil_cosine" in one]
    assert cosines[100][-1] > max(cosines[100][0], cosines[0][-1]) + 0.2, cosines
    model = Encoder.open(out / "model")  # contains neither the teacher nor the map
    assert model.dim == 8 and str(teachers / teacher) in (out / "model" / "card.md").read_text()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resumed_run_is_identical(learning, tmp_path, killed, precision):
    told = []
    many = {
        "precision": precision,
        "steps": 6,
        "checkpoint_every": 2,
        "keep_checkpoints": 5,
        "optimizer": "adamw",
        "accumulate": 2,
    }
    parts = learning("other_size", train=many, augment=AUGMENT)
    train(parts, tmp_path / "a", say=told.append)
    assert any("other_size" in text and "dimension 12" in text for text in told)
    killed()
    torch.manual_seed(7)
    train(parts, tmp_path / "b", resume=True, **QUIET)
    plain, other = state(tmp_path / "a"), state(tmp_path / "b")
    assert "state.distil.map.weight" in plain and plain.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in plain.items())
    one, two = (tmp_path / name / "model" / "model.safetensors" for name in "ab")
    assert one.read_bytes() == two.read_bytes()
    with pytest.raises(InputError, match=r"started with distil\.weight 1\.0, not 2\.0"):
        train(learning("other_size", weight=2.0, train=many, augment=AUGMENT), tmp_path / "b", resume=True, **QUIET)


@pytest.mark.parametrize(
    ("teacher", "keys", "said"),
    [
        ("nowhere", {}, "nowhere: not a model directory"),
        ("a.onnx", {}, r"distil\.model: .*a\.onnx is a file; give a model directory"),
        ("other_rate", {}, "takes 16000 Hz, the config has 8000 Hz"),
        ("other_bins", {"data": {"train": "features"}}, r"has front_end\.bins 20, the config has 24; train from"),
    ],
)
def test_mismatch_is_rejected(learning, packs, out, teacher, keys, said):
    if "data" in keys:
        keys = {"data": {"train": str(packs / keys["data"]["train"])}}
    with pytest.raises(InputError, match=said) as caught:
        build(learning(teacher, **keys), out, **QUIET)
    assert "\n" not in str(caught.value)


def test_crops_too_short_for_the_teacher_are_rejected(learning, teachers, out, tmp_path):
    model = {"name": "xvector", "channels": "8", "pooled_channels": "16", "dim": "8"}
    encoder = Encoder(validate(EncoderConfig, {"front_end": FRONT_END, "model": model}))
    least = encoder.min_samples / 8000
    small = {"model": {"name": "resnet18", "channels": 4, "dim": 8}}
    with pytest.raises(InputError, match=r"data\.crop_seconds 0\.1 is too short for xvector: at least"):
        build(learning("same_size", data={"crop_seconds": 0.1, "dev": None}, **small), out, **QUIET)
    assert least > 0.1


@pytest.fixture(scope="module")
def embedded(packs, teachers, tmp_path_factory):
    """The teacher's embeddings of all recordings."""
    path = tmp_path_factory.mktemp("embedded") / "teacher.parquet"
    extract(Encoder.open(teachers / "other_size"), packs / "train", path)
    return path


def test_embeddings_from_files(recipe, packs, embedded, out):
    """The target of a crop is the embedding of its whole recording, regardless of augmentation."""
    learner = build(recipe(distil={"embeddings": str(embedded)}, augment=AUGMENT), out, **QUIET).learner
    batch = learner.inputs.batch(0)
    features, targets = learner.teacher.inputs(learner.inputs, batch)
    assert torch.equal(features, learner.inputs.features(batch))
    known = read_embeddings(embedded)
    ids = [learner.sampler.pack.ids[row] for row in batch.rows]
    expected = np.stack([known.vectors[known.ids.index(name)] for name in ids])
    assert torch.equal(targets, torch.from_numpy(expected)) and len(set(ids)) > 1


def test_the_mean_of_each_file_is_subtracted(recipe, packs, embedded, out, tmp_path):
    known = read_embeddings(embedded)
    half = len(known.ids) // 2
    files = {}
    for name, part in (("a", slice(0, half)), ("b", slice(half, None))):
        files[name] = tmp_path / f"{name}.parquet"
        write_embeddings(files[name], Embeddings(known.ids[part], known.vectors[part], model=known.model))
    distil = {"embeddings": [str(path) for path in files.values()], "centre": "yes"}
    learner = build(recipe(distil=distil), out, **QUIET).learner
    unit = known.vectors / np.linalg.norm(known.vectors, axis=1, keepdims=True)
    centred = np.concatenate([unit[:half] - unit[:half].mean(0), unit[half:] - unit[half:].mean(0)])
    batch = learner.inputs.batch(0)
    ids = [learner.sampler.pack.ids[row] for row in batch.rows]
    expected = np.stack([centred[known.ids.index(name)] for name in ids])
    np.testing.assert_allclose(learner.teacher.inputs(learner.inputs, batch)[1].numpy(), expected, atol=1e-6)


def test_the_mean_of_each_pack_is_subtracted(learning, packs, out, tmp_path):
    """For a teacher that embeds the crops: the mean over crops of the pack as they are."""
    source = Pack.open(packs / "train")
    for name, rows in (("few", range(3)), ("many", range(3, len(source)))):
        with PackWriter(tmp_path / name, kind="audio", sample_rate=8000) as writer:
            for row in rows:
                writer.add(source.ids[row], source.speakers[row], "", source[row])
    data = {"train": [str(tmp_path / "few"), str(tmp_path / "many")]}
    keys = {"data": data, "augment": AUGMENT, "train": {"precision": "fp32"}}
    learner = build(learning("other_bins", centre="yes", **keys), out, **QUIET).learner
    teacher, sampler = learner.teacher, learner.sampler
    unit = {0: [], 1: []}
    for pack, batch in sampler.examples(512):
        embedded = teacher.encoder(batch.groups[0][1].float() / 32768).numpy()
        unit[pack] += list(embedded / np.linalg.norm(embedded, axis=1, keepdims=True))
        assert {row >= 3 for row in batch.rows.tolist()} == {pack == 1}
    assert [len(vectors) for vectors in unit.values()] == [3, len(source) - 3]
    batch = learner.inputs.batch(0)
    given = teacher.inputs(learner.inputs, batch)[1]
    embedded = teacher.encoder.network(given).numpy()
    mean = np.array([np.mean(unit[row >= 3], axis=0) for row in batch.rows.tolist()])
    expected = embedded / np.linalg.norm(embedded, axis=1, keepdims=True) - mean
    found = teacher(given, torch.from_numpy(batch.rows), bf16=False)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    assert {row >= 3 for row in batch.rows.tolist()} == {False, True}


def test_the_mean_of_a_feature_pack_is_subtracted(learning, packs, tmp_path):
    keys = {"data": {"train": str(packs / "features")}, "train": {"steps": 4, "accumulate": 2, "precision": "fp32"}}
    means = []
    for centre in ("yes", "no"):
        train(learning("same_size", centre=centre, **keys), tmp_path / centre, **QUIET)
        learner = build(learning("same_size", centre=centre, **keys), tmp_path / "n", **QUIET).learner
        given = [learner.teacher.inputs(learner.inputs, batch)[1] for _, batch in learner.sampler.examples(512)]
        rows = [torch.from_numpy(batch.rows) for _, batch in learner.sampler.examples(512)]
        means.append(torch.cat([learner.teacher(*both, bf16=False) for both in zip(given, rows)]).mean(0).norm())
    assert means[0] < 1e-6 and means[1] > 0.01


def pair_cosines(vectors: torch.Tensor) -> np.ndarray:
    return 1 - cdist(vectors.numpy(), vectors.numpy(), "cosine")


def test_pairwise_cosines_of_the_batch():
    """The second term is zero for a rotated teacher, whose cosines with the student are not 1, and grows otherwise."""
    torch.manual_seed(0)
    targets = torch.randn(7, 5)
    rotation = torch.linalg.qr(torch.randn(5, 5))[0]
    terms = Distillation(DistilConfig(model="m", weight=0, relations=3), 5, 5)
    assert terms(2 * targets @ rotation, targets)[0].item() == pytest.approx(0, abs=1e-10)
    student = torch.randn(7, 4)
    loss, _ = Distillation(DistilConfig(model="m", weight=0, relations=3), 4, 5)(student, targets)
    expected = 3 * np.square(pair_cosines(student) - pair_cosines(targets)).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_student_approaches_embeddings_from_files(recipe, embedded, tmp_path):
    settings = {"steps": 40, "log_every": 8, "optimizer": {"name": "adamw", "lr": 0.01}, "lr_schedule": "constant"}
    train(recipe(distil={"embeddings": str(embedded), "weight": 100}, train=settings), tmp_path / "a", **QUIET)
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    cosines = [one["distil_cosine"] for one in lines if "distil_cosine" in one]
    assert cosines[-1] > cosines[0] + 0.2
    assert str(embedded) in (tmp_path / "a" / "model" / "card.md").read_text()


def test_resumed_run_with_embeddings_is_identical(recipe, embedded, tmp_path, killed):
    settings = {"steps": 6, "checkpoint_every": 2, "keep_checkpoints": 5, "accumulate": 2}
    parts = recipe(distil={"embeddings": [str(embedded)]}, train=settings, augment=AUGMENT)
    train(parts, tmp_path / "a", **QUIET)
    killed()
    train(parts, tmp_path / "b", resume=True, **QUIET)
    one, two = (tmp_path / name / "model" / "model.safetensors" for name in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_mismatching_embeddings_are_rejected(recipe, embedded, out, tmp_path):
    known = read_embeddings(embedded)
    fewer, other = tmp_path / "fewer.parquet", tmp_path / "other.parquet"
    write_embeddings(fewer, dataclasses.replace(known, ids=["x", *known.ids[1:]]))
    write_embeddings(other, dataclasses.replace(known, model="f" * 32))
    for files, keys, said in (
        ([fewer], {}, f"1 recordings of data.train have none, the first is '{known.ids[0]}'"),
        ([embedded, other], {}, "are of different models"),
        ([embedded], {"augment": {"speeds": [1.0, 0.9]}}, "at one speed; instead of augment.speeds pack the copies"),
        (["nowhere"], {}, "nowhere"),
    ):
        with pytest.raises(InputError, match=said):
            build(recipe(distil={"embeddings": list(map(str, files))}, **keys), out, **QUIET)
    for distil, said in (
        ({}, "give the teacher's model or its embeddings"),
        ({"model": "m", "embeddings": "e"}, "give the teacher's model or its embeddings"),
        ({"embeddings": "e", "clean": "yes"}, "clean needs a teacher's model"),
    ):
        with pytest.raises(InputError, match=said):
            validate(Recipe, {"data": {"train": "pack"}, "distil": distil})


def test_negative_weight_is_rejected():
    with pytest.raises(InputError, match=r"distil\.weight"):
        validate(Recipe, {"data": {"train": "pack"}, "distil": {"model": "m", "weight": "-1"}})
