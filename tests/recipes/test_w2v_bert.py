"""All stages of the recipe with a large encoder, on a miniature corpus and a tiny encoder of random weights."""

from __future__ import annotations

import re

import numpy as np
import pytest

from data_prep._tree import Tree
from data_prep.folder import prepare
from spkver import compat
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.packs import pack_audio
from spkver.trials import make_trials, write_trials

try:
    transformers = compat.transformers()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

TINY = (
    "model.adapter_dim=4 model.network.dim=8 train.batch_size=4 train.log_every=1 "
    "train.precision=fp32 train.compile=false data.crop_seconds=0.5"
)


@pytest.fixture
def corpus(record, tmp_path):
    """Packs of six and four speakers, all trials of the latter, and an encoder."""
    for name, speakers in (("train", range(6)), ("test", range(6, 10))):
        for speaker in speakers:
            record(tmp_path / name, *(f"id{speaker}/{take}.wav" for take in range(3)))
        data = prepare(Tree.read(tmp_path / name))
        pack_audio(data, tmp_path / f"{name}_pack", jobs=1)
    write_trials(tmp_path / "trials", make_trials(data.ids, data.speakers, nontargets=30, seed=1))
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    inputs = {"feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 5, "output_hidden_size": 16}
    config = transformers.AutoConfig.for_model("wav2vec2-bert", vocab_size=8, **sizes, **inputs)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "encoder")
    return [
        *("--train", tmp_path / "train_pack", "--test", tmp_path / "test_pack"),
        *("--trials", tmp_path / "trials", "--encoder", tmp_path / "encoder"),
    ]


def test_stages_start_from_each_other(recipe, corpus, tmp_path):
    small = ["--steps", "2 2 1 2", "--jobs", "1", "--overrides"]
    recipe("w2v_bert", *corpus, "--stop-stage", 1, small=[*small, f"{TINY} model.lora.rank=2"])
    done = recipe("w2v_bert", *corpus, "--stage", 2, small=[*small, TINY])
    assert re.findall(r"=== stage (\d)", done.stdout) == list("2345")
    assert re.findall(r"^(\w+):$", done.stdout, re.M) == ["frozen", "joint", "margin", "prune"]
    assert done.stdout.count("EER ") == 4
    exp, weights = tmp_path / "exp", {}
    for name in ("frozen", "joint", "margin", "prune"):
        encoder = Encoder.open(exp / name / "model")
        assert encoder.config.model.lora is None and encoder.config.model.prune is None
        weights[name] = {key: value.numpy() for key, value in encoder.network.state_dict().items()}
    assert "18 of 18 classes with its weights" in (exp / "joint" / "train.log").read_text()
    assert "6 of 6 classes with its weights" in (exp / "margin" / "train.log").read_text()

    def moved(before, after):
        return {key for key in before if not np.array_equal(before[key], after[key])}

    start = {f"encoder.{key}": value.numpy() for key, value in _published(tmp_path).items()}
    of_encoder = {key: value for key, value in weights["frozen"].items() if key in start}
    assert moved(of_encoder, start) <= {key for key in start if key.endswith(("linear_q.weight", "linear_v.weight"))}
    assert moved(of_encoder, start)
    assert len(moved(weights["frozen"], weights["joint"])) > 20
    assert len(encoder.config.model.widths) == 4  # two feed-forward layers in each of two layers
    assert not [key for key in weights["prune"] if "log_alpha" in key or "parametrizations" in key]


def _published(folder):
    return transformers.AutoModel.from_pretrained(folder / "encoder").state_dict()


def test_missing_option_is_named_in_the_error(recipe):
    assert "--train is needed" in recipe("w2v_bert", small=[], code=2).stderr
    assert "--test and --trials are needed" in recipe("w2v_bert", "--stage", 5, small=[], code=2).stderr
