"""Structured pruning of self-supervised encoders, tested with tiny ones with random weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from spkver import compat
from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.models.gates import Gate, PruneConfig, Pruning
from spkver.models.widths import groups

try:
    compat.transformers()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 24, "vocab_size": 8}
OF_WAVEFORM = {
    **{**SIZES, "conv_dim": [8, 8, 8], "conv_stride": [5, 4, 4], "conv_kernel": [10, 8, 4]},
    **{"num_feat_extract_layers": 3, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2},
}
BERT = {**SIZES, "feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 5, "output_hidden_size": 16}
ENCODERS = {
    "wavlm": (OF_WAVEFORM, "waveform"),
    "wav2vec2": (OF_WAVEFORM, "waveform"),
    "hubert": (OF_WAVEFORM, "waveform"),
    "wav2vec2-bert": (BERT, "w2v_bert"),
}
WAVEFORM = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


def build(kind, **fields):
    settings, front_end = ENCODERS[kind]
    encoder = json.dumps({"model_type": kind, **settings})
    model = {"name": "ssl", "encoder": encoder, "network": {"name": "pooled", "dim": 6}, **fields}
    torch.manual_seed(0)
    return Encoder(validate(EncoderConfig, {"front_end": front_end, "model": model}))


def gates(encoder):
    return [part for part in encoder.modules() if isinstance(part, Gate)]


def pruned(kind):
    """An encoder with random gates, without the first unit of each group, and with a large position bias in WavLM."""
    encoder = build(kind, prune={"sparsity": 0.5})
    for gate in gates(encoder):
        nn.init.normal_(gate.log_alpha, std=2)
        with torch.no_grad():
            gate.log_alpha[0] = -6
    for name, parameter in encoder.named_parameters():
        if "rel_attn_embed" in name or "gru_rel_pos" in name:
            nn.init.normal_(parameter, std=2)
    return encoder.eval()


def test_gates_have_the_distribution_of_the_paper():
    """Louizos et al., section 2.2: P(z ≠ 0) = sigmoid(log α - β log(-γ / ζ)), and the stretched concrete variable."""
    gate = Gate(4, 1)
    alphas = np.array([-3.0, -0.5, 0.7, 2.0])
    with torch.no_grad():
        gate.log_alpha.copy_(torch.from_numpy(alphas))
    beta, low, high = 2 / 3, -0.1, 1.1
    expected = 1 / (1 + np.exp(-(alphas - beta * math.log(-low / high))))
    np.testing.assert_allclose(gate.open().detach().numpy(), expected, rtol=1e-6)
    torch.manual_seed(0)
    drawn = torch.stack([gate.values() for _ in range(4000)]).detach().double().numpy()
    np.testing.assert_allclose((drawn > 0).mean(axis=0), expected, atol=0.03)
    u = np.random.default_rng(0).uniform(1e-6, 1 - 1e-6, (200_000, 1))
    concrete = 1 / (1 + np.exp(-(np.log(u / (1 - u)) + alphas) / beta))
    of_paper = np.clip(concrete * (high - low) + low, 0, 1)
    np.testing.assert_allclose(drawn.mean(axis=0), of_paper.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(drawn.std(axis=0), of_paper.std(axis=0), atol=0.03)


@pytest.mark.parametrize("kind", ENCODERS)
def test_pruned_model_gives_the_embeddings_of_the_gated_one(kind, tmp_path):
    encoder = pruned(kind)
    expected = encoder.embed(WAVEFORM)
    encoder.save(tmp_path / "model")
    opened = Encoder.open(tmp_path / "model")
    assert opened.config.model.prune is None and not gates(opened)
    left = {group.name: group.units for group in groups(opened.network.encoder)}
    for group in groups(opened.network.encoder):
        if group.size > 1 and kind != "wavlm":  # whose position bias has all heads
            assert group.module.num_heads == group.units
    whole = {group.name: group.units for group in groups(build(kind).network.encoder)}
    assert left.keys() == whole.keys() and all(left[name] <= whole[name] for name in whole)
    assert 0.2 * sum(whole.values()) < sum(left.values()) < 0.8 * sum(whole.values())
    error = np.abs(opened.embed(WAVEFORM) - expected).max() / np.abs(expected).max()
    assert error < 1e-5
    opened.save(tmp_path / "again")
    assert Encoder.open(tmp_path / "again").config == opened.config
    # a batch, and a gradient
    opened.train()
    opened.network(opened.front_end(torch.from_numpy(np.stack([WAVEFORM, WAVEFORM[::-1].copy()])))).sum().backward()


def test_expected_sparsity_counts_parameters():
    encoder = build("wavlm", prune={"sparsity": 0.5}).network
    with torch.no_grad():
        for gate in gates(encoder):
            gate.log_alpha.fill_(-20)
            gate.log_alpha[0] = 20
    attention = 3 * (4 * (4 * 16 + 3)) * 4  # layers · (values of a head · (rows, column, biases)) · heads
    feed_forward = 3 * (2 * 16 + 1) * 24
    expected = 1 - (attention / 4 + feed_forward / 24) / (attention + feed_forward)
    assert float(encoder.pruning.sparsity().detach()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("target", [0.3, 0.8])
def test_training_reaches_the_target(target):
    torch.manual_seed(0)
    network = build("wav2vec2-bert", prune={"sparsity": target, "warm_up": 0.5}).network
    values = [network.pruning.multipliers, *(gate.log_alpha for gate in gates(network))]
    optimizer = torch.optim.Adam(values, lr=0.05)
    for step in range(600):
        optimizer.zero_grad()
        network.penalty(step / 600).backward()
        optimizer.step()
    assert float(network.pruning.sparsity().detach()) == pytest.approx(target, abs=0.02)
    whole = sum(group.units * group.parameters for group in groups(build("wav2vec2-bert").network.encoder))
    kept = network.pruning.kept()
    left = sum(
        group.parameters * (len(kept["heads"][group.name]) if group.size > 1 else kept["widths"][group.name])
        for group in groups(network.encoder)
    )
    assert 1 - left / whole == pytest.approx(target, abs=0.05)


def test_penalty_is_the_lagrangian_and_its_multipliers_rise():
    network = build("wavlm", prune={"sparsity": 0.6, "warm_up": 0.4}).network
    with torch.no_grad():
        network.pruning.multipliers.copy_(torch.tensor([0.5, 2.0]))
    for progress, target in ((0.0, 0.0), (0.1, 0.15), (0.4, 0.6), (1.0, 0.6)):
        over = network.pruning.sparsity().detach().double() - target
        assert float(network.penalty(progress).detach()) == pytest.approx(float(0.5 * over + 2 * over**2), abs=1e-6)
    network.penalty(1.0).backward()
    torch.testing.assert_close(network.pruning.multipliers.grad.double(), -torch.stack([over, over**2]))


def test_gated_network_takes_the_weights_of_one_without_gates():
    plain, gated = build("wavlm"), build("wavlm", prune={"sparsity": 0.5})
    state = {name: tensor + 1 for name, tensor in plain.network.state_dict().items()}
    gated.network.load_state_dict(dict(state))
    inside = gated.network.state_dict()
    for name, tensor in state.items():
        found = inside.get(name, inside.get(name.replace(".weight", ".parametrizations.weight.original")))
        torch.testing.assert_close(found, tensor, rtol=0, atol=0)
    gated.network.load_state_dict(inside)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prune": {"sparsity": 1.0}}, "sparsity"),
        ({"prune": {}, "lora": {}}, "prune needs a whole encoder"),
        ({"prune": {}, "widths": {"encoder.layers.0.feed_forward": 3}}, "prune needs a whole encoder"),
        ({"widths": {"encoder.layers.9.feed_forward": 3}}, "the encoder has no encoder.layers.9.feed_forward"),
        ({"heads": {"encoder.layers.0.attention": [7]}}, "no encoder.layers.0.attention with units 7"),
    ],
)
def test_unusable_settings_are_one_line_errors(fields, said):
    with pytest.raises(InputError, match=said):
        build("wavlm", **fields)


def test_pruning_needs_no_gates_of_its_own_kind_elsewhere():
    """Gates are parameters of the encoder, registered once."""
    network = build("wavlm", prune={"sparsity": 0.5}).network
    names = [name for name, _ in network.named_parameters() if "log_alpha" in name]
    assert len(names) == 6 and all(name.startswith("encoder.") for name in names)
    assert isinstance(network.pruning, Pruning) and network.pruning.config == PruneConfig(sparsity=0.5)
