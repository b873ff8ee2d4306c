"""What holds for every form of export: what is written gives the embeddings of the model that it was made from."""

from __future__ import annotations

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


# options that make the form write something, the name of what it writes, and how that is read
FORMS = {
    "onnx": ({}, "x.onnx", Encoder.open),
    "model": ({"weights": "float16"}, "half", Encoder.open),
    "wespeaker": ({}, "folder", read_folder),
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """One that every form can hold."""
    torch.manual_seed(1)
    model = {"name": "resnet", "depth": 18, "dim": 6, "pooling": {"unbiased": True}}
    made = Encoder(validate(EncoderConfig, {"front_end": "wespeaker", "model": model})).eval()
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_var, 0.5, 2)
    path = tmp_path_factory.mktemp("model") / "model"
    made.save(path)
    return Encoder.open(path)


def test_every_form_is_here():
    assert set(FORMS) == set(EXPORTS)


@pytest.mark.parametrize("form", FORMS)
def test_the_embeddings_are_those_of_the_model(encoder, tmp_path, form):
    options, name, read = FORMS[form]
    if form == "onnx":
        pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    built = EXPORTS.build(validate(EXPORTS.get(form).Config, options))
    said = built.write(encoder, tmp_path / name)
    assert said and all(isinstance(line, str) and line for line in said)
    again = read(tmp_path / name)
    for seconds in (0.7, 1.3):
        waveform = np.random.default_rng(0).normal(0, 0.1, int(16000 * seconds)).astype(np.float32)
        one, other = encoder.embed(waveform), again.embed(waveform)
        assert np.linalg.norm(one - other) < 2e-2 * np.linalg.norm(one)
