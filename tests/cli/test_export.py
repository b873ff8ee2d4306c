from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")


def test_export_and_use(spkver, tmp_path):
    import torch

    from spkver.config import validate
    from spkver.encoder import Encoder, EncoderConfig

    torch.manual_seed(0)
    model = {"name": "xvector", "channels": 8, "pooled_channels": 8, "dim": 6}
    Encoder(validate(EncoderConfig, {"model": model})).eval().save(tmp_path / "model")
    done = spkver("export", tmp_path / "model", tmp_path / "x.onnx", "--int8")
    assert "lowest cosine" in done.stdout and "compatible with sherpa-onnx" in done.stdout
    assert "give the model directory" in spkver("export", tmp_path / "x.onnx", tmp_path / "y.onnx", code=2).stderr
    assert "use a name that ends in .onnx" in spkver("export", tmp_path / "model", tmp_path / "y", code=2).stderr
    for words, said in (
        (["out", "--to", "wespeaker", "--half"], "--half does not apply to --to wespeaker"),
        (["x.onnx", "--chain", "c"], "--chain does not apply to --to onnx"),
        (["out", "--to", "model", "--int8"], "--int8 does not apply to --to model"),
        (["out", "--to", "model", "--any-front-end"], "--any-front-end does not apply to --to model"),
    ):
        assert said in spkver("export", tmp_path / "model", tmp_path / words[0], *words[1:], code=2).stderr
