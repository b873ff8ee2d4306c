"""Model repositories of Triton."""

from __future__ import annotations

import numpy as np
import pytest

from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.export.triton import TritonConfig, TritonExport

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def encoder():
    return Encoder(
        EncoderConfig.model_validate({"model": {"name": "xvector", "channels": 8, "pooled_channels": 8, "dim": 6}})
    ).eval()


def test_repository_has_one_model_and_its_config(encoder, tmp_path):
    said = TritonExport(TritonConfig()).write(encoder, tmp_path / "voice")
    assert "model 'voice'" in said[0]
    files = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())
    assert files == ["voice/voice/1/model.onnx", "voice/voice/config.pbtxt"]
    config = (tmp_path / "voice/voice/config.pbtxt").read_text()
    session = onnxruntime.InferenceSession(str(tmp_path / "voice/voice/1/model.onnx"))
    (given,), (embedding,) = session.get_inputs(), session.get_outputs()
    assert f'input [ {{ name: "{given.name}" data_type: TYPE_FP32 dims: [ -1 ] }} ]' in config
    assert f'output [ {{ name: "{embedding.name}" data_type: TYPE_FP32 dims: [ 6 ] }} ]' in config
    assert (given.type, embedding.type) == ("tensor(float)", "tensor(float)")
    assert 'name: "voice"' in config and 'backend: "onnxruntime"' in config and "max_batch_size: 64" in config
    waveform = np.random.default_rng(0).normal(0, 0.1, (3, 20000)).astype(np.float32)
    (found,) = session.run(None, {given.name: waveform})
    np.testing.assert_allclose(found, encoder.embed_batch(waveform), rtol=1e-3, atol=1e-4)


def test_a_name_that_triton_refuses_is_refused(encoder, tmp_path):
    with pytest.raises(InputError, match="use letters, digits"):
        TritonExport(TritonConfig()).write(encoder, tmp_path / "my voice")
    assert not list(tmp_path.iterdir())
