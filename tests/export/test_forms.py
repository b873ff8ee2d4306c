"""All export formats: an exported model gives the embeddings of the original."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.export import EXPORTS
from spkver.interop.peers import import_model


def read_folder(path):
    import_model(path, path.with_name("read"))
    return Encoder.open(path.with_name("read"))


def waveform_file(path):
    """An ONNX file that takes waveforms, with the interface of an encoder."""
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    return SimpleNamespace(embed=lambda waveform: session.run(None, {"waveform": waveform[None]})[0][0])


# required options of the format, the name of its output, and how to read it
FORMS = {
    "onnx": ({}, "x.onnx", Encoder.open),
    "model": ({"weights": "float16"}, "half", Encoder.open),
    "wespeaker": ({}, "folder", read_folder),
    "triton": ({}, "voice", lambda path: waveform_file(path / "voice/1/model.onnx")),
    "page": None,  # needs a decision, and onnxruntime-web: see test_page.py
}


@pytest.fixture
def encoder(tmp_path, form):
    """An encoder that the export format supports."""
    torch.manual_seed(1)
    channels = 32 if form == "wespeaker" else 4  # it has no narrower network
    model = {"name": "resnet", "depth": 18, "channels": channels, "dim": 6, "pooling": {"unbiased": True}}
    made = Encoder(validate(EncoderConfig, {"front_end": "wespeaker", "model": model})).eval()
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_var, 0.5, 2)
    made.save(tmp_path / "model")
    return Encoder.open(tmp_path / "model")


def test_every_export_format_is_tested():
    assert set(FORMS) == set(EXPORTS)


@pytest.mark.parametrize("form", [form for form, how in FORMS.items() if how])
def test_export_gives_the_embeddings_of_the_model(encoder, tmp_path, form):
    options, name, read = FORMS[form]
    if form in ("onnx", "triton"):
        pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    built = EXPORTS.build(validate(EXPORTS.get(form).Config, options))
    said = built.write(encoder, tmp_path / name)
    assert said and all(isinstance(line, str) and line for line in said)
    again = read(tmp_path / name)
    for seconds in (0.7, 1.3):
        waveform = np.random.default_rng(0).normal(0, 0.1, int(16000 * seconds)).astype(np.float32)
        one, other = encoder.embed(waveform), again.embed(waveform)
        assert np.linalg.norm(one - other) < 2e-2 * np.linalg.norm(one)
