from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import spkver
from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.export.checking import voice
from spkver.export.onnx import OnnxExport
from spkver.files import sha256

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    model = {"name": "xvector", "channels": 8, "pooled_channels": 8, "dim": 6, "pooling": "mean"}
    encoder = Encoder(validate(EncoderConfig, {"model": model, "front_end": {"window": "hamming"}})).eval()
    encoder.model_id = "m" * 32
    return encoder


@pytest.fixture(scope="module")
def files(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    for name, options in {"x": {}, "int8": {"weights": "int8"}, "waveform": {"waveform": True}}.items():
        OnnxExport(validate(OnnxExport.Config, options)).write(encoder, folder / f"{name}.onnx")
    return folder


def test_encoder_opens_an_onnx_file(encoder, files):
    found = spkver.load_model(files / "x.onnx", "auto")
    assert (found.dim, found.min_samples, found.config) == (6, encoder.min_samples, encoder.config)
    waveforms = np.stack([voice(found.min_samples + 777, 16000, seed) for seed in range(3)])
    np.testing.assert_allclose(found.embed_batch(waveforms), encoder.embed_batch(waveforms), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="short"):
        found.embed(waveforms[0, : found.min_samples - 1])
    with pytest.raises(InputError, match="an ONNX file has a fixed precision, not fp16"):
        found.computing_in("fp16")


def test_model_id_of_an_onnx_file_depends_on_its_weights(encoder, files):
    """float32 embeddings may be scored with those of the model, int8 embeddings may not."""
    assert spkver.load_model(files / "x.onnx").model_id == encoder.model_id
    assert spkver.load_model(files / "int8.onnx").model_id == sha256(files / "int8.onnx")[:32]


def without_metadata(data):
    model = onnx.load_model_from_string(data)
    del model.metadata_props[:]
    return model.SerializeToString()


def with_config(value):
    def change(data):
        model = onnx.load_model_from_string(data)
        about = {"dim": 6, "min_frames": 15, "input": "features", "config": value}
        onnx.helper.set_model_props(model, {"spkver": json.dumps(about)})
        return model.SerializeToString()

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: b"", r"x\.onnx: onnxruntime cannot load it"),
        (lambda data: data[:500], r"x\.onnx: onnxruntime cannot load it"),
        (lambda data: b"hello" * 99, r"x\.onnx: onnxruntime cannot load it"),
        (without_metadata, r"x\.onnx: not written by `spkver export`"),
        (with_config({"model": "resnet_34"}), "did you mean 'resnet34'"),
        (with_config([1]), "expected keys"),
    ],
)
def test_other_onnx_files_are_rejected(files, tmp_path, change, said):
    (tmp_path / "x.onnx").write_bytes(change((files / "x.onnx").read_bytes()))
    with pytest.raises(InputError, match=said):
        spkver.load_model(tmp_path / "x.onnx")


def test_onnx_files_reject_other_devices_and_precisions(files, tmp_path):
    with pytest.raises(InputError, match=r"waveform\.onnx: takes a waveform"):
        spkver.load_model(files / "waveform.onnx")
    with pytest.raises(InputError, match=r"missing\.onnx: cannot be read"):
        spkver.load_model(tmp_path / "missing.onnx")
    with pytest.raises(InputError, match=r"x\.onnx: device 'coreml': this build of onnxruntime runs on .*cpu"):
        spkver.load_model(files / "x.onnx", "coreml")
