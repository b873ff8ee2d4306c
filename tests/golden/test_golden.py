"""Files of earlier versions are read, with the values that make.py stored when it wrote them."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import safetensors.torch
import yaml
from safetensors import safe_open

from spkver.config import load, save, validate
from spkver.embeddings import read_embeddings
from spkver.encoder import EncoderConfig
from spkver.errors import InputError, NewerFormatError
from spkver.features import FrontEndConfig
from spkver.formats.convert import read
from spkver.packs import Pack, make_features
from spkver.recipe import Recipe, train
from spkver.scoring.calibration import Affine, Steps, read_map
from spkver.scoring.chain import read_chain
from spkver.scoring.plda import read_plda
from spkver.training.data.classes import Class
from spkver.training.state import checkpoint
from spkver.training.state.head import SavedHead
from spkver.verify.book import open_book
from spkver.verify.decision import Decision, read_decision
from spkver.verify.model import load_model

FOLDERS = sorted(Path(__file__).parent.glob("format_*"))
NEWER = 3
MAKE = runpy.run_path(str(Path(__file__).with_name("make.py")))


@pytest.fixture(params=FOLDERS, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the files of one format."""
    copy = tmp_path / "golden"
    shutil.copytree(request.param, copy)
    (copy / "book").chmod(0o700)  # git does not store this mode
    (copy / "book" / "voices.parquet").chmod(0o600)
    return copy


@pytest.fixture
def values(golden):
    return json.loads((golden / "values.json").read_text())


def test_every_format_has_golden_files() -> None:
    assert [path.name for path in FOLDERS] == [f"format_{number}" for number in range(1, MAKE["FORMAT"] + 1)]


@pytest.mark.parametrize("name", ["audio", "audio_flac"])
def test_golden_audio_packs(golden, values, name):
    pack = Pack.open(golden / name)
    assert (pack.kind, pack.sample_rate, pack.header.coding) == ("audio", 8000, "flac" if "flac" in name else "pcm")
    assert (pack.ids, pack.speakers, pack.sessions) == (values["ids"], values["speakers"], values["sessions"])
    assert pack.lengths.tolist() == [1600] * 4
    assert pack.crop(3, 0, 8).tolist() == values["samples"]
    pack.verify_shard(0)


def test_golden_feature_packs(golden, values):
    pack = Pack.open(golden / "features")
    assert (pack.kind, pack.bins, pack.ids) == ("features", 8, values["ids"])
    assert pack.lengths.tolist() == values["frames"]
    assert pack[3][2].tolist() == values["features"]
    pack.require(load(EncoderConfig, golden / "exp" / "model" / "config.yaml").front_end)


def test_golden_models(golden, values):
    model = load_model(golden / "exp" / "model")
    assert model.model_id == values["model"]
    assert model.decision is not None and model.cohort is not None
    np.testing.assert_allclose(model.embed(MAKE["waveform"]()), values["embedding"], atol=1e-4)


def test_golden_decisions(golden, values):
    decision = read_decision(golden / "exp" / "model")
    assert decision is not None and decision.cohort is not None
    assert decision.cohort.top == 2
    assert decision.model_copy(update={"model": "", "cohort": None}) == MAKE["DECISION"]


def test_golden_onnx_files(golden, values):
    pytest.importorskip("onnxruntime")
    model = load_model(golden / "model.onnx")
    assert model.model_id == values["model"]
    np.testing.assert_allclose(model.embed(MAKE["waveform"]()), values["embedding"], atol=1e-4)


def test_golden_checkpoints(golden, values):
    found = checkpoint.read(golden / "exp" / "checkpoints" / "step-00000002")
    assert found.step == 2
    sums = {name: tensor.double().sum().item() for name, tensor in found.tensors.items()}
    assert sums == pytest.approx(values["checkpoint"])


def test_run_resumes_from_a_golden_checkpoint(golden, monkeypatch):
    monkeypatch.chdir(golden)
    shutil.rmtree("exp/model")
    recipe = validate(Recipe, MAKE["RECIPE"] | {"train": MAKE["RECIPE"]["train"] | {"steps": 3}})
    save(recipe, "exp/config.yaml")
    told: list[str] = []
    train(recipe, "exp", resume=True, say=told.append)
    assert any("resuming after step 2 of 3" in line for line in told)
    assert checkpoint.read(Path("exp/checkpoints/step-00000003")).step == 3


def test_run_does_not_resume_before_a_checkpoint_of_a_newer_version(golden):
    folder = golden / "exp" / "checkpoints"
    shutil.copytree(folder / "step-00000002", folder / "step-00000004")
    _in_json(folder / "step-00000004" / "manifest.json")
    with pytest.raises(NewerFormatError, match="step-00000004"):
        checkpoint.latest(folder, lambda text: None)


def test_golden_heads(golden, values):
    head = SavedHead.read(golden / "exp" / "model")
    assert list(head.classes) == [Class("s0"), Class("s1")]
    assert head.state["head.weight"].tolist() == values["head"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_golden_embeddings(golden, values, dtype):
    found = read_embeddings(golden / f"embeddings_{dtype}.parquet")
    assert (found.ids, found.speakers) == (["a", "ä b", "c"], ["ada", "", "eve"])
    assert (found.model, found.front_end) == ("0123abcd", {"name": "fbank", "bins": 8})
    np.testing.assert_allclose(found.vectors, values["vectors"], atol=0.01 if dtype == "int8" else 0)


@pytest.mark.parametrize("suffix", MAKE["FORMS"])
def test_golden_embeddings_in_other_formats(golden, values, suffix):
    pytest.importorskip({".h5": "h5py", ".faiss": "faiss"}.get(suffix, "numpy"))
    found = read(golden / f"embeddings{suffix}")
    assert (found.ids, found.speakers) == (["a", "ä b", "c"], ["ada", "", "eve"])
    assert (found.model, found.front_end) == ("0123abcd", {"name": "fbank", "bins": 8})
    np.testing.assert_allclose(found.vectors, values["vectors"], rtol=1e-6)


def test_golden_embeddings_of_windows(golden, values):
    found = read_embeddings(golden / "windows.parquet")
    assert (found.ids, found.speakers) == (["a", "a", "b"], None)
    assert found.times is not None and found.times.tolist() == values["times"]


def test_golden_speaker_books(golden, values):
    book = open_book(golden / "book")
    book.require("0123abcd")
    assert book.recordings() == {"Ada": 2, "Ève": 1}
    vectors = np.array(values["vectors"])
    np.testing.assert_allclose(book.voices.vectors, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), atol=1e-6)
    facts = values.get("book", {"Ada": {}, "Ève": {}})  # format 1 has none
    for name, expected in facts.items():
        held = book.about(name)
        assert {key: held[key] for key in expected} == expected


def test_golden_chains(golden, values):
    chain = read_chain(golden / "chain")
    assert [step.name for step in chain.steps] == ["centre", "pca", "length"]
    assert chain.model == "0123abcd"
    for step, matrix in zip(chain.steps[:2], (None, values["matrix"])):
        assert step.mean is not None and step.mean.tolist() == values["mean"]
        assert (step.matrix if step.matrix is None else step.matrix.tolist()) == matrix


def test_golden_plda_models(golden, values):
    plda = read_plda(golden / "plda")
    assert plda.model == "0123abcd"
    for name in ("mean", "between", "within"):
        assert getattr(plda, name).tolist() == values[name]


def test_golden_calibrations(golden):
    affine, steps = read_map(golden / "affine.json"), read_map(golden / "steps.json")
    assert isinstance(affine, Affine) and isinstance(steps, Steps)
    assert affine.plain() == {"kind": "affine", "weights": [2.0, -0.5], "offset": 0.125}
    assert steps.plain() == {"kind": "steps", "lowest": [-1.0, 0.0, 1.5], "ratios": [-3.0, 0.5, 2.0]}


# --- files of a later version -----------------------------------------------------------------------------------------


def _in_json(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": NEWER}))


def _in_yaml(path):
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"format": NEWER, "a_new_key": 1}))


def _in_parquet(path):
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"spkver"]) | {"format": NEWER}
    pq.write_table(table.replace_schema_metadata({b"spkver": json.dumps(about)}), path)
    path.chmod(0o600)


def _in_safetensors(path):
    with safe_open(path, "pt") as stream:
        about = stream.metadata() | {"format": str(NEWER)}
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, about)


def _in_npz(path):
    with np.load(path) as arrays:
        np.savez(path, **arrays, format=np.array(str(NEWER)))


def _in_hdf5(path):
    with pytest.importorskip("h5py").File(path, "a") as file:
        file.attrs["format"] = NEWER


def _in_jsonl(path):
    head, *rest = path.read_text().splitlines()
    about = json.loads(head)["spkver"] | {"format": NEWER}
    path.write_text("\n".join([json.dumps({"spkver": about}), *rest]) + "\n")


def _in_safetensors_of_arrays(path):
    with safe_open(path, "np") as stream:
        about = stream.metadata() | {"format": str(NEWER)}
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, about)


def _in_onnx(path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == "spkver")
    entry.value = json.dumps(json.loads(entry.value) | {"format": NEWER})
    onnx.save(model, path)


def _make_features(audio, out):
    make_features(audio, out, FrontEndConfig(**MAKE["FRONT_END"]))


@pytest.mark.parametrize(
    ("file", "raise_format", "read"),
    [
        ("audio/pack.json", _in_json, lambda path: Pack.open(path.parent)),
        ("features/pack.json", _in_json, lambda path: _make_features(path.parents[1] / "audio", path.parent)),
        ("exp/checkpoints/step-00000002/manifest.json", _in_json, lambda path: checkpoint.read(path.parent)),
        ("exp/model-head.safetensors", _in_safetensors, lambda path: SavedHead.read(path.parent / "model")),
        ("exp/model/config.yaml", _in_yaml, lambda path: load_model(path.parent)),
        ("exp/model/decision.yaml", _in_yaml, lambda path: load(Decision, path)),
        ("embeddings_int8.parquet", _in_parquet, read_embeddings),
        ("embeddings.npz", _in_npz, read),
        ("embeddings.h5", _in_hdf5, read),
        ("embeddings.jsonl", _in_jsonl, read),
        ("embeddings.safetensors", _in_safetensors_of_arrays, read),
        ("embeddings.faiss.jsonl", _in_jsonl, lambda path: read(path.with_suffix(""))),
        ("book/voices.parquet", _in_parquet, lambda path: open_book(path.parent)),
        ("chain/chain.yaml", _in_yaml, lambda path: read_chain(path.parent)),
        ("plda/plda.yaml", _in_yaml, lambda path: read_plda(path.parent)),
        ("affine.json", _in_json, read_map),
        ("model.onnx", _in_onnx, load_model),
    ],
)
def test_newer_format_is_named(golden, file, raise_format, read):
    raise_format(golden / file)
    with pytest.raises(InputError) as caught:
        read(golden / file)
    known = 2 if file.endswith(".parquet") else 1
    assert str(caught.value) == (
        f"{golden / file}: written in format {NEWER} by a newer spkver, this version reads format {known}; "
        "update spkver (pip install --upgrade spkver)"
    )
