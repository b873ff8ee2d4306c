"""Import SpeechBrain folders with random weights and compare with SpeechBrain, from waveform to embedding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from spkver import compat
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.interop.peers import guess, import_model
from spkver.scoring.chain import read_chain

try:
    compat.speechbrain()
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    from speechbrain.lobes.models.ResNet import ResNet
    from speechbrain.lobes.models.Xvector import Xvector
    from speechbrain.nnet.pooling import StatisticsPooling
    from speechbrain.processing.features import InputNormalization
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

SETTINGS = """
# a comment
pretrained_path: somebody/something
n_mels: {mels}
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
mean_var_norm_emb: !new:speechbrain.processing.features.InputNormalization
    norm_type: global
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.{network}
{arguments}
classifier: !new:speechbrain.lobes.models.Xvector.Classifier
    input_shape: [null, null, 512]
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    paths:
        embedding_model: !ref <pretrained_path>/embedding_model.ckpt
"""
XVECTOR = """    in_channels: !ref <n_mels>
    activation: !name:torch.nn.LeakyReLU
    tdnn_blocks: 5
    tdnn_channels: [16, 16, 16, 16, 24]
    tdnn_kernel_sizes: [5, 3, 3, 1, 1]
    tdnn_dilations: [1, 2, 3, 1, 1]
    lin_neurons: 12"""
ECAPA = """    input_size: !ref <n_mels>
    channels: [16, 16, 16, 16, 48]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 8
    res2net_scale: 4
    se_channels: 4
    lin_neurons: 12"""
RESNET = """    input_size: !ref <n_mels>
    channels: [8, 8, 16, 16]
    strides: [1, 2, 2, 2]
    block_sizes: [3, 4, 6, 3]
    lin_neurons: 12"""


def xvector():
    return Xvector(
        in_channels=24,
        activation=nn.LeakyReLU,
        tdnn_blocks=5,
        tdnn_channels=[16, 16, 16, 16, 24],
        tdnn_kernel_sizes=[5, 3, 3, 1, 1],
        tdnn_dilations=[1, 2, 3, 1, 1],
        lin_neurons=12,
    )


def ecapa():
    return ECAPA_TDNN(
        80, lin_neurons=12, channels=[16] * 4 + [48], attention_channels=8, res2net_scale=4, se_channels=4
    )


CASES = {
    "Xvector": (xvector, "Xvector.Xvector", XVECTOR, 24),
    "ECAPA_TDNN": (ecapa, "ECAPA_TDNN.ECAPA_TDNN", ECAPA, 80),
    "ResNet": (lambda: ResNet(channels=[8, 8, 16, 16], lin_neurons=12), "ResNet.ResNet", RESNET, 80),
}


def write(folder, name):
    """Write a SpeechBrain folder with random weights and statistics; returns the network."""
    make, path, arguments, mels = CASES[name]
    torch.manual_seed(0)
    network = make()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    torch.save(network.state_dict(), folder / "embedding_model.ckpt")
    (folder / "hyperparams.yaml").write_text(SETTINGS.format(network=path, arguments=arguments, mels=mels))
    return network.eval()


@pytest.mark.parametrize("name", CASES)
def test_imported_model_gives_the_embeddings_of_speechbrain(name, tmp_path, monkeypatch):
    # its x-vector adds random numbers from 1e-5 to 9e-5 to the means; ours adds their mean
    monkeypatch.setattr(StatisticsPooling, "_get_gauss_noise", lambda self, shape, device=None: torch.full(shape, 5e-5))
    folder = tmp_path / "theirs"
    folder.mkdir()
    theirs = write(folder, name)
    assert guess(folder) == guess(folder / "embedding_model.ckpt") == "speechbrain"
    import_model(folder, tmp_path / "ours")
    encoder = Encoder.open(tmp_path / "ours")
    normalise = InputNormalization(norm_type="sentence", std_norm=False)
    fbank = Fbank(n_mels=CASES[name][3])
    for samples in (9000, 23456):
        waveform = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
        waveform *= np.sin(np.arange(samples) / 900) ** 2
        with torch.no_grad():
            features = normalise(fbank(torch.from_numpy(waveform)[None]), torch.ones(1))
            expected = theirs(features).flatten().numpy()
        error = np.abs(encoder.embed(waveform) - expected).max() / np.abs(expected).max()
        assert error < 1e-5


def test_import_stores_the_embedding_mean_as_a_chain(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    write(folder, "Xvector")
    mean = torch.arange(12.0)
    torch.save({"count": 3, "glob_mean": mean, "glob_std": torch.ones(1)}, folder / "mean_var_norm_emb.ckpt")
    said = import_model(folder, tmp_path / "ours")
    chain = read_chain(tmp_path / "ours-mean")
    assert "--chain" in said[-1] and chain.model == Encoder.open(tmp_path / "ours").model_id
    assert np.array_equal(chain.steps[0].mean, mean.double().numpy())
    assert "ours-mean" in (tmp_path / "ours" / "card.md").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("norm_type: sentence", "norm_type: global", "norm_type sentence"),
        ("norm_type: sentence", "norm_type: sentence\n    mean_norm: False", "norm_type sentence"),
        ("tdnn_dilations: [1, 2, 3, 1, 1]", "tdnn_dilations: [1, 2, 4, 1, 1]", "tdnn_dilations"),
        ("Xvector.Xvector", "Other.Other", "the network 'Other'"),
        ("features.Fbank", "features.MFCC", "'MFCC'"),
        ("LeakyReLU", "GELU", "GELU"),
        ("[16, 16, 16, 16, 24]", "[16, 16, 16, 16, 25]", "blocks.12.conv.weight is"),
    ],
)
def test_import_names_the_unsupported_setting(tmp_path, old, new, said):
    write(tmp_path, "Xvector")
    settings = tmp_path / "hyperparams.yaml"
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=said):
        import_model(tmp_path, tmp_path / "ours")
