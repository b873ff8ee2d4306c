"""Export models as WeSpeaker folders and import them again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.export import EXPORTS
from spkver.interop.peers import import_model

U = {"unbiased": True}
RESNET = {"name": "resnet", "depth": 18, "dim": 6, "pooling": U}


def encoder_of(model, front_end="wespeaker"):
    torch.manual_seed(1)
    encoder = Encoder(validate(EncoderConfig, {"front_end": front_end, "model": model}))
    for norm in encoder.network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return encoder.eval()


def export(encoder, path, **options):
    form = EXPORTS.get("wespeaker")
    return form(form.Config(**options)).write(encoder, path)


MODELS = {
    "ResNet18": RESNET,
    "ResNet18, two": {**RESNET, "layers_after_pooling": 2, "pooling": "mean"},
    "XVEC": {
        **{"name": "xvector", "channels": 8, "pooled_channels": 12, "dim": 6, "layers_after_pooling": 2},
        **{"between": "relu_norm", "embedding_norm": False, "pooling": U},
    },
    "ECAPA_TDNN_c512": {
        **{"name": "ecapa_tdnn", "dim": 6, "sum_inputs": False, "goes_by": "last", "embedding_norm": False},
        **{"pooling": "xi_vector"},
    },
    "SimAM_ResNet34_ASP": {"name": "simam_resnet34", "channels": 8, "dim": 6},
    "CAMPPlus": {"name": "cam++", "dim": 6, "pooling": U},
    "ERes2Net34_Base": {"name": "eres2net_base", "dim": 6, "pooling": U},
    "ReDimNetB1": {"name": "redimnet_b1", "dim": 6, "pooling_norm": False, "pooling": U},
    "ReDimNet2B0": {"name": "redimnet2_b0", "dim": 6, "plane_out": False},
}


@pytest.mark.parametrize("name", MODELS)
def test_wespeaker_round_trip_is_exact(name, tmp_path):
    bins = 72 if "ReDimNet" in name else 80
    front_end = {"name": "tf_mel"} if "ReDimNet2" in name else {"name": "wespeaker", "bins": bins}
    ours = encoder_of(MODELS[name], front_end)
    said = export(ours, tmp_path / "theirs")
    assert name.partition(",")[0] in said[0] and len(said) == 1
    config = yaml.safe_load((tmp_path / "theirs" / "config.yaml").read_text())
    dataset = config["dataset_args"]
    theirs = dataset["tfmel_args"]["n_mels"] if "tfmel_args" in dataset else dataset["fbank_args"]["num_mel_bins"]
    assert config["model"] == name.partition(",")[0] and theirs == bins
    import_model(tmp_path / "theirs", tmp_path / "ours")
    back = Encoder.open(tmp_path / "ours")
    assert back.config == ours.config
    waveform = np.random.default_rng(0).normal(0, 0.1, 6400).astype(np.float32)
    assert np.array_equal(back.embed(waveform), ours.embed(waveform))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"name": "resnet", "depth": 18, "dim": 6}, r"nearest, ResNet18, differs in pooling\.unbiased: False, theirs"),
        ({**RESNET, "attention": "se"}, "attention: se, theirs is none"),
        ({**RESNET, "channels": 8}, "channels: 8, theirs is 32"),
        ({"name": "preact_resnet", "channels": [4, 4, 4, 4]}, "no network like preact_resnet; it has campplus"),
    ],
)
def test_wespeaker_export_names_differences_to_the_nearest_network(model, said, tmp_path):
    with pytest.raises(InputError, match=said):
        export(encoder_of(model), tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_wespeaker_export_rejects_trained_gains_that_it_lacks(tmp_path):
    encoder = encoder_of(MODELS["XVEC"])
    encoder.network.frame[2].weight.data[0] = 2.0
    with pytest.raises(InputError, match=r"frame\.2\.weight: trained, .* has no such gains"):
        export(encoder, tmp_path / "theirs")


def test_wespeaker_export_rejects_a_different_front_end(tmp_path):
    encoder = encoder_of(RESNET, "fbank")
    with pytest.raises(InputError, match=r"front_end\.high_hz: 7600\.0, theirs is 8000\.0"):
        export(encoder, tmp_path / "theirs")
    said = export(encoder, tmp_path / "theirs", any_front_end=True)
    assert "warning" in said[1] and "window: povey, theirs is hamming" in said[1]
