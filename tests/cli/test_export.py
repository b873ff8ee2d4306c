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


def test_options_of_a_format_are_the_fields_of_its_config(monkeypatch, tmp_path):
    """This also applies to fields without an option of this command, for example of formats of other packages."""
    from typing import Literal

    from click.testing import CliRunner
    from pydantic import Field

    from spkver.cli.export import command
    from spkver.config import Component, validate
    from spkver.encoder import Encoder, EncoderConfig
    from spkver.export import EXPORTS

    class Config(Component):
        name: Literal["toy"] = "toy"
        loud_words: bool = Field(False, description="in capitals")
        times: int = Field(1, gt=0, description="how often")

    class Toy:
        def __init__(self, config):
            self.config = config

        def write(self, encoder, path):
            path.write_text("toy")
            said = f"{path.name} of {encoder.dim}"
            return [said.upper() if self.config.loud_words else said] * self.config.times

    Toy.Config = Config
    monkeypatch.setitem(EXPORTS._entries, "toy", "")
    get = EXPORTS.get
    monkeypatch.setattr(EXPORTS, "get", lambda name: Toy if name == "toy" else get(name))

    def run(*words):
        return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=True)

    model = tmp_path / "model"
    Encoder(validate(EncoderConfig, {"model": {"name": "pooled", "dim": 6}})).eval().save(model)
    shown = run("--to", "toy", "--help").output
    assert "--loud-words" in shown and "toy: in capitals." in shown and "--times" in shown
    assert "--times" not in run("--help").output and "--times" not in run("--help", "--to=onnx").output
    assert run(model, tmp_path / "a.toy", "--to", "toy").output == "a.toy of 6\n"
    assert run("--to=toy", model, tmp_path / "a.toy", "--loud-words", "--times", "2").output == "A.TOY OF 6\n" * 2
    assert "--times does not apply" not in run(model, tmp_path / "a.toy", "--to", "toy", "--times", "0").output
    assert "times: " in str(run(model, tmp_path / "a.toy", "--to", "toy", "--times", "0").exception)
    assert "--waveform does not apply to --to toy" in str(
        run(model, tmp_path / "a.toy", "--to", "toy", "--waveform").exception
    )
    assert run(model, tmp_path / "b.onnx", "--times", "2").exit_code == 2
    assert "unknown export format 'toi'; did you mean 'toy'" in str(run(model, tmp_path / "a", "--to", "toi").exception)
