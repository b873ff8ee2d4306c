"""Low-rank adaptation and layer adapters of self-supervised encoders, tested with tiny ones with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from spkver import compat
from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.models.lora import LoraConfig, LowRank, adapt, merged, take_merged

try:
    compat.transformers()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 8}
ENCODERS = {
    "wavlm": (
        {
            **{**SIZES, "conv_dim": [8, 8, 8], "conv_stride": [5, 4, 4], "conv_kernel": [10, 8, 4]},
            **{"num_feat_extract_layers": 3, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2},
        },
        "waveform",
    ),
    "wav2vec2-bert": (
        {**SIZES, "feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 5, "output_hidden_size": 16},
        "w2v_bert",
    ),
}
LORA = {"rank": "2", "alpha": "6"}
every_kind = pytest.mark.parametrize("kind", ENCODERS)


def build(kind, **fields):
    settings, front_end = ENCODERS[kind]
    encoder = json.dumps({"model_type": kind, **settings})
    model = {"name": "ssl", "encoder": encoder, "network": {"name": "pooled", "dim": "6"}, **fields}
    torch.manual_seed(0)
    return Encoder(validate(EncoderConfig, {"front_end": front_end, "model": model}))


def changed(encoder):
    """The encoder with random low-rank changes, as after training."""
    for part in encoder.modules():
        if isinstance(part, LowRank):
            nn.init.normal_(part.b, std=0.3)
    return encoder.eval()


WAVEFORM = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    adapt(layer, LoraConfig(rank=2, alpha=6.0, layers=("0",)))
    take_merged(layer)
    return layer


def test_formula(layer):
    change = layer[0].parametrizations.weight[0]
    before, x = layer[0].parametrizations.weight.original.detach().clone(), torch.randn(7, 5)
    torch.testing.assert_close(layer[0](x), functional.linear(x, before, layer[0].bias), rtol=0, atol=0)
    nn.init.normal_(change.b)
    expected = functional.linear(x, before, layer[0].bias) + 3 * (x @ change.a.T) @ change.b.T
    torch.testing.assert_close(layer[0](x), expected)
    assert change.a.shape == (2, 5) and change.b.shape == (4, 2)


def test_merged_state_is_that_of_a_plain_module(layer):
    nn.init.normal_(layer[0].parametrizations.weight[0].b)
    x, plain = torch.randn(7, 5), nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    plain.load_state_dict(merged(layer))
    torch.testing.assert_close(plain(x), layer(x))


def test_a_plain_state_can_be_loaded_and_so_can_its_own(layer):
    x, plain = torch.randn(7, 5), nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    nn.init.normal_(layer[0].parametrizations.weight[0].b)
    own = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    before = layer(x)
    layer.load_state_dict(plain.state_dict())
    torch.testing.assert_close(layer(x), plain(x))
    layer.load_state_dict(own)
    torch.testing.assert_close(layer(x), before)


@every_kind
def test_only_the_changes_are_trained(kind):
    encoder = build(kind, lora=LORA, layers="adapters", adapter_dim="4").train()
    out = encoder(torch.from_numpy(np.stack([WAVEFORM, WAVEFORM[::-1], -2 * WAVEFORM, WAVEFORM**2])))
    (out * torch.randn(out.shape)).sum().backward()
    reached = {name for name, value in encoder.network.named_parameters() if value.grad is not None}
    theirs = {name for name in reached if name.startswith("encoder.")}
    assert len(theirs) == 2 * 2 * 3  # A and B of queries and values of three layers
    assert all(name.endswith((".parametrizations.weight.0.a", ".parametrizations.weight.0.b")) for name in theirs)
    # the last layer has the gradient, of B only because B is 0
    assert any(value.grad.any() for name, value in encoder.network.named_parameters() if name in theirs)
    own = {name for name, _ in encoder.network.named_parameters() if not name.startswith("encoder.")}
    assert own <= reached and sum(name.startswith("adapters.") for name in own) == 4 * 6


@every_kind
@pytest.mark.parametrize("layers", ["sum", "adapters"])
def test_model_directory_has_the_merged_weights(kind, layers, tmp_path):
    encoder = changed(build(kind, lora=LORA, layers=layers))
    plain = build(kind, layers=layers).eval()
    expected = encoder.embed(WAVEFORM)
    assert np.abs(plain.embed(WAVEFORM) - expected).max() > 1e-3
    encoder.save(tmp_path / "model")
    opened = Encoder.open(tmp_path / "model")
    assert opened.config.model.lora is None
    assert opened.network.state_dict().keys() == plain.network.state_dict().keys()
    np.testing.assert_allclose(opened.embed(WAVEFORM), expected, rtol=1e-5, atol=1e-6)
    # and the next stage can start from them, with or without new changes
    again = build(kind, lora=LORA, layers=layers).eval()
    again.network.load_state_dict(opened.network.state_dict())
    np.testing.assert_allclose(again.embed(WAVEFORM), expected, rtol=1e-5, atol=1e-6)


@every_kind
def test_layer_adapters_equal_their_formula(kind):
    encoder = build(kind, layers="adapters", adapter_dim="4").eval()
    network = encoder.network
    with torch.inference_mode():
        features = encoder.front_end(torch.from_numpy(WAVEFORM)[None])
        found = network.encoder(network._input(features), output_hidden_states=True)
        layers = [*found.hidden_states[:-1], found.last_hidden_state]
        frames = []
        for layer, (first, norm, _, last) in zip(layers, network.adapters):
            hidden = functional.layer_norm(layer @ first.weight.T + first.bias, (4,), norm.weight, norm.bias)
            frames.append(hidden.relu() @ last.weight.T + last.bias)
        expected = network.network(torch.cat(frames, dim=-1))[0]
    assert network.network.pooling.size == 2 * 4 * 4
    np.testing.assert_allclose(encoder.embed(WAVEFORM), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_layers_that_do_not_exist_are_named():
    with pytest.raises(InputError, match=r"model.lora.layers: \*.query matches no linear layer; known: .*\*.q_proj"):
        build("wavlm", lora={"layers": ["*.query"]})
