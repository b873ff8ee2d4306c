from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spkver import compat
from spkver.config import load, save, validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.models import MODELS, masks
from spkver.models.base import FrameNetwork
from spkver.models.campplus import MaskedConv, segment_means
from spkver.models.eres2net import AttentiveFusion
from spkver.models.plane import SimAM
from spkver.models.variants import VARIANTS


def build(model, bins=80):
    config = validate(EncoderConfig, {"model": model}).model
    torch.manual_seed(0)
    return MODELS.build(config, bins).eval()


def on_meta(model, bins=80):
    with torch.device("meta"):
        return build(model, bins)


def millions(model, bins=80):
    return sum(parameter.numel() for parameter in on_meta(model, bins).parameters()) / 1e6


def randomise_norms(network):
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return network.eval()


SMALL = {
    "xvector": {"name": "xvector", "channels": 8, "pooled_channels": 12, "dim": 6},
    "xvector, two layers": {"name": "xvector", "channels": 8, "dim": 6, "layers_after_pooling": 2},
    "xvector, attention": {"name": "xvector", "channels": 8, "dim": 6, "pooling": "attentive_statistics"},
    "xvector, mean": {"name": "xvector", "channels": 8, "dim": 6, "pooling": "mean"},
    "xvector, WeSpeaker's": {
        **{"name": "xvector", "channels": 8, "dim": 6, "layers_after_pooling": 2, "between": "relu_norm"},
        **{"embedding_norm": False, "pooling": {"unbiased": True}},
    },
    "xvector, SpeechBrain's": {
        **{"name": "xvector", "channels": 8, "dim": 6, "padding": "reflect", "activation": "leaky_relu"},
        **{"embedding_norm": False, "pooling": {"unbiased": True, "floor": 1e-12}},
    },
    "resnet18": {"name": "resnet", "depth": 18, "channels": 4, "dim": 6},
    "resnet18, two layers": {"name": "resnet", "depth": 18, "channels": 4, "dim": 6, "layers_after_pooling": 2},
    "resnet18, voxceleb_trainer's": {
        **{
            "name": "resnet",
            "depth": 18,
            "channels": 8,
            "dim": 6,
            "attention": "se",
            "reduction": 2,
            "order": "relu_norm",
        },
        **{"pooling": {"name": "attentive_statistics", "activation": "relu_norm", "floor": 1e-5}},
    },
    "preact_resnet": {"name": "preact_resnet", "channels": [4, 4, 8, 8], "dim": 6},
    "resnet34": {"name": "resnet", "channels": 4, "dim": 6, "pooling": {"name": "attentive_statistics", "hidden": 4}},
    "resnet18, unbiased": {**{"name": "resnet", "depth": 18, "channels": 4, "dim": 6}, "pooling": {"unbiased": True}},
    "etdnn": {"name": "xvector", "frame_layers": "extended", "channels": 8, "pooled_channels": 12, "dim": 6},
    "resnet50": {"name": "resnet", "depth": 50, "channels": 4, "dim": 6},
    "resnet, se": {"name": "resnet", "depth": 18, "channels": 8, "dim": 6, "attention": "se", "reduction": 2},
    "resnet, simam": {"name": "resnet", "depth": 18, "channels": 4, "dim": 6, "attention": "simam"},
    "res2net": {"name": "res2net", "channels": 8, "scale": 3, "dim": 6},
    "eres2net": {"name": "eres2net", "channels": 8, "dim": 6},
    "eres2netv2": {"name": "eres2net", "channels": 8, "scale": 3, "fused": "last", "dim": 6},
    "ecapa_tdnn": {"name": "ecapa_tdnn", "channels": 16, "aggregated": 12, "se_hidden": 4, "dim": 6},
    "ecapa_tdnn, WeSpeaker's": {
        **{"name": "ecapa_tdnn", "channels": 16, "aggregated": 12, "se_hidden": 4, "dim": 6, "sum_inputs": False},
        **{"embedding_norm": False, "goes_by": "last", "pooling": {"unbiased": True}},
    },
    "ecapa_tdnn, SpeechBrain's": {
        **{**VARIANTS["ecapa_tdnn_speechbrain"].fields, "channels": 16, "aggregated": 12, "se_hidden": 4, "dim": 6},
    },
    "campplus": {"name": "campplus", "front_channels": 4, "channels": 8, "growth": 2, "bottleneck": 16, "dim": 6},
    "redimnet": {"name": "redimnet", "channels": 4, "stages": ((1, 1, 1, 0), (2, 2, 2, 20)), "dim": 6},
    "redimnet, resnet": {
        **{"name": "redimnet", "channels": 4, "stages": ((2, 1, 1, 20), (1, 1, 2, 40)), "dim": 6},
        **{"blocks": "resnet_se", "group": 1},
    },
    "redimnet, WeSpeaker's": {
        **{"name": "redimnet", "channels": 4, "stages": ((1, 1, 1, 20), (2, 1, 2, 20)), "dim": 6},
        **{"blocks": "resnet", "pooling_norm": False, "pooling": {"unbiased": True}},
    },
    **yaml.safe_load((Path(__file__).parents[1] / "networks.yaml").read_text()),
    "pooled": {"name": "pooled", "dim": 6},
    "projected": {"name": "projected", "network": {"name": "pooled", "dim": 6}, "dim": 4},
    "mean_fbank": {"name": "mean_fbank"},
}


def test_every_network_is_tested():
    assert {model["name"] for model in SMALL.values()} == set(MODELS) - {"ssl"}  # test_ssl.py


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("bins", [80, 41])
def test_network_gives_embeddings_of_its_dimension(name, bins):
    if name.startswith("redimnet") and bins % 2:
        bins += 39  # frequency is halved without remainder
    network = build(SMALL[name], bins)
    for frames in (network.min_frames, network.min_frames + 1, 57):
        out = network(torch.randn(3, frames, bins))
        assert out.shape == (3, network.dim) and out.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
def test_gradient_of_a_single_pooled_frame_is_finite(name):
    network = build(SMALL[name]).train()
    features = torch.randn(2, network.min_frames, 80, requires_grad=True)
    network(features).square().sum().backward()
    assert features.grad.isfinite().all()
    for parameter in network.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_min_frames_is_the_shortest_input():
    network = build(SMALL["xvector"])
    assert network.min_frames == 15  # the context of frame5
    with pytest.raises(RuntimeError):
        network(torch.randn(1, 14, 80))
    assert build(SMALL["etdnn"]).min_frames == 23
    # ResNet pads, so fewer frames would work; eight leave one frame that is not mostly padding
    assert build(SMALL["resnet18"]).min_frames == 8


@pytest.mark.parametrize("name", SMALL)
def test_shortest_recording_is_embedded_and_a_shorter_one_rejected(name):
    encoder = Encoder(validate(EncoderConfig, {"model": SMALL[name]})).eval()
    noise = np.random.default_rng(0).normal(0, 0.1, encoder.min_samples).astype(np.float32)
    assert encoder.embed(noise).shape == (encoder.dim,)
    with pytest.raises(InputError, match="short"):
        encoder.embed(noise[:-1])


@pytest.mark.parametrize("name", SMALL)
def test_gradient_reaches_every_parameter(name):
    network = build(SMALL[name]).train()
    out = network(torch.randn(4, 60, 80, requires_grad=True))
    (out * torch.randn(out.shape)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", SMALL)
def test_half_precision_and_channels_last_are_close(name):
    network = randomise_norms(build(SMALL[name]))
    features = 5 * torch.randn(2, 60, 80)
    expected = network(features)
    torch.testing.assert_close(network.to(memory_format=torch.channels_last)(features), expected, rtol=1e-3, atol=1e-5)
    for kind in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", kind):
            half = network(features).float()
        assert half.isfinite().all()
        assert (torch.cosine_similarity(half, expected) > 0.99).all()


# minimum frames, so that an axis of one frame, or of one segment, does not broadcast
@pytest.mark.parametrize(("name", "least"), [("xvector", 16), ("ecapa_tdnn", 5), ("campplus", 203), ("redimnet", 2)])
def test_exported_graph_has_no_data_dependent_control_flow(name, least):
    network = randomise_norms(build(SMALL[name]))
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("frames", min=least)}
    program = torch.export.export(network, (torch.randn(2, 330, 80),), dynamic_shapes=(dynamic,)).module()
    features = torch.randn(3, 250, 80)
    torch.testing.assert_close(program(features), network(features), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_batch_gives_the_same_embeddings_as_single_inputs(name):
    network = build(SMALL[name])
    batch = torch.randn(4, 40, 80)
    one_by_one = torch.cat([network(row[None]) for row in batch])
    torch.testing.assert_close(network(batch), one_by_one, rtol=1e-4, atol=1e-5)


def test_cam_averages_a_short_last_segment_over_its_frames():
    for frames in (1, 99, 100, 101, 250):
        x = torch.randn(2, 3, frames)
        expected = nn.functional.avg_pool1d(x, 100, 100, ceil_mode=True)
        torch.testing.assert_close(segment_means(x), expected)


@pytest.mark.parametrize(
    ("offset", "expected"), [(20.0, "twice the first"), (0.0, "the sum"), (-20.0, "twice the second")]
)
def test_attentive_fusion_weights_both_inputs(offset, expected):
    """ERes2Net's fusion: x (1 + a) + y (1 - a), with attention a of 1, 0 and -1."""
    fusion = AttentiveFusion(4).eval()
    nn.init.zeros_(fusion.local_att[-1].weight)
    nn.init.constant_(fusion.local_att[-1].bias, offset)
    x, y = torch.randn(2, 2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    wanted = {"twice the first": 2 * x, "the sum": x + y, "twice the second": 2 * y}[expected]
    torch.testing.assert_close(fusion(x, y), wanted)


def test_simam_equals_the_formula_of_the_paper():
    """Yang et al., ICML 2021, equation 5; as in their code, the variance divides by the number of values minus one."""
    plane = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])  # mean 3, squares 4, 1, 0, 9, variance 14 / 3
    squares = torch.tensor([4.0, 1.0, 0.0, 9.0])
    gate = torch.sigmoid(squares / (4 * (14 / 3 + 1e-4)) + 0.5)
    torch.testing.assert_close(SimAM()(plane).flatten(), plane.flatten() * gate)
    x = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    for row in range(2):
        for channel in range(3):
            own = x[row, channel].double().numpy()
            inside = (own - own.mean()) ** 2 / (4 * (own.var(ddof=1) + 1e-4)) + 0.5
            expected = torch.from_numpy(own / (1 + np.exp(-inside))).float()
            torch.testing.assert_close(SimAM()(x)[row, channel], expected)


@pytest.mark.parametrize("name", [name for name in VARIANTS if VARIANTS[name].published])
def test_parameter_counts_equal_the_published_ones(name):
    variant = VARIANTS[name]
    counted = millions(name, variant.bins)
    if name.startswith("redimnet2"):  # published with one digit, cut
        counted = int(10 * counted) / 10
    assert counted == pytest.approx(variant.published, rel=0.01)


def test_parameter_counts_equal_those_of_the_code():
    """To one thousandth, for networks counted in the code of their publishers, or by hand."""
    assert millions("resnet34") == pytest.approx(6.634, rel=1e-3)
    assert millions("resnet18") == pytest.approx(4.105, rel=1e-3)
    assert millions("cam++") == pytest.approx(7.176, rel=1e-3)
    assert millions("eres2net_base") == pytest.approx(6.611, rel=1e-3)
    # frame layers 2.818 M, of these 7,096 the norms' gains and offsets; segment6 is 3000 x dim, its bias and norm
    assert millions("xvector") == pytest.approx(4.356, rel=1e-3)
    assert millions({"name": "xvector", "dim": 256}) == pytest.approx(3.587, rel=1e-3)
    # with two layers after pooling: WeSpeaker's 4.611 M (norms without gains) and our norms' 9,144
    assert millions({"name": "xvector", "layers_after_pooling": 2}) == pytest.approx(4.611 + 0.009144, rel=1e-3)
    # WeSpeaker's ECAPA-TDNN without global context: 5.798 M, and its norm-free embedding; with a xi-vector: "5.9 M"
    plain = {"name": "ecapa_tdnn", "embedding_norm": False}
    assert millions({**plain, "pooling": {"context": False}}) == pytest.approx(5.798, rel=1e-3)
    assert millions({**plain, "pooling": "xi_vector"}) == pytest.approx(5.9, rel=1e-2)
    # the extended TDNN's table, layer by layer: weights, bias, norm
    sizes = [
        (5 * 80, 512),
        *[(512, 512), (3 * 512, 512)] * 3,
        (512, 512),
        (512, 512),
        (512, 1500),
        (3000, 512),
        (512, 512),
    ]
    assert millions("etdnn") * 1e6 == sum(before * after + 3 * after for before, after in sizes)


def test_tensor_counts_equal_those_of_the_publishers():
    """So checkpoints can be imported by renaming keys."""
    variants = {"resnet34": 218, "ecapa_tdnn_speechbrain": 231, "cam++": 937, "eres2net_base": 587}
    assert {name: len(on_meta(name).state_dict()) for name in variants} == variants


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_saved_as_their_fields(name, tmp_path):
    config = validate(EncoderConfig, {"model": name})
    assert config.model.name == VARIANTS[name].fields["name"]
    save(config, tmp_path / "config.yaml")
    assert load(EncoderConfig, tmp_path / "config.yaml") == config


def test_variants_set_fields():
    assert not set(VARIANTS) & set(MODELS)
    config = validate(EncoderConfig, {"model": "resnet34"}).model
    assert config == validate(EncoderConfig, {"model": {"name": "resnet", "depth": "34"}}).model
    # keys override the preset; keys of a nested component keep its other keys
    changed = validate(
        EncoderConfig, {"model": {"name": "simam_resnet34", "dim": "8", "pooling": {"hidden": "9"}}}
    ).model
    assert (changed.depth, changed.dim, changed.pooling.hidden, changed.pooling.activation) == (34, 8, 9, "relu_norm")
    other = validate(EncoderConfig, {"model": {"name": "simam_resnet34", "pooling": "mean"}}).model
    assert other.pooling.name == "mean"
    assert validate(
        EncoderConfig, {"model": {"name": "ecapa_tdnn_512", "pooling": {"hidden": "9"}}}
    ).model.pooling.context
    with pytest.raises(InputError, match="unknown model 'resnet_34'; did you mean 'resnet34'"):
        validate(EncoderConfig, {"model": "resnet_34"})


@pytest.mark.parametrize(
    ("model", "bins", "said"),
    [
        ({"name": "ecapa_tdnn", "channels": 20}, 80, "20 channels do not divide into 8 parts"),
        ("redimnet_b2", 81, "81 mel bins do not divide by 2 in stage 2"),
        ({"name": "redimnet", "channels": 6}, 72, "36 channels over time|do not divide"),
    ],
)
def test_sizes_that_do_not_divide_are_rejected(model, bins, said):
    with pytest.raises(InputError, match=said):
        on_meta(model, bins)


def test_ecapa_tdnn_equals_speechbrain():
    try:
        compat.speechbrain()
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    except InputError as error:
        pytest.skip(str(error))
    names = [
        (r"^blocks\.0\.", "first."),
        (r"^blocks\.(\d)\.", lambda match: f"blocks.{int(match[1]) - 1}."),
        (r"res2net_block", "res2"),
        (r"se_block\.conv(\d)\.conv", r"se.linear\1"),
        (r"\.(conv|norm)\.\1", r".\1"),
        (r"^mfa\.conv", "aggregate"),
        (r"^mfa\.norm", "aggregate_norm"),
        (r"^asp\.tdnn\.conv", "pooling.attention.0"),
        (r"^asp\.tdnn\.norm", "pooling.attention.2"),
        (r"^asp\.conv", "pooling.attention.4"),
        (r"^asp_bn\.norm", "pooling_norm"),
        (r"^fc\.conv", "linear"),
    ]
    theirs = ECAPA_TDNN(
        80, lin_neurons=6, channels=[16] * 4 + [12], attention_channels=128, se_channels=4, res2net_scale=8
    )
    randomise_norms(theirs)
    ours = build(SMALL["ecapa_tdnn, SpeechBrain's"])
    state = {}
    for key, value in theirs.state_dict().items():
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        state[key] = value.reshape(ours.state_dict()[key].shape)
    ours.load_state_dict(state)
    features = torch.randn(2, 50, 80)
    torch.testing.assert_close(ours(features), theirs(features)[:, 0], rtol=1e-5, atol=1e-5)


def test_resnet_has_the_tensor_names_of_wespeaker():
    norm = [f"{{}}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]

    def normed(conv, bn):
        return [f"{conv}.weight", *(name.format(bn) for name in norm)]

    expected = normed("conv1", "bn1")
    for layer, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            stem = f"layer{layer}.{block}."
            expected += normed(f"{stem}conv1", f"{stem}bn1") + normed(f"{stem}conv2", f"{stem}bn2")
            if layer > 1 and block == 0:
                expected += normed(f"{stem}shortcut.0", f"{stem}shortcut.1")
    expected += ["seg_1.weight", "seg_1.bias"]
    state = build({"name": "resnet"}).state_dict()
    assert sorted(state) == sorted(expected) and len(expected) == 218
    assert state["conv1.weight"].shape == (32, 1, 3, 3) and state["seg_1.weight"].shape == (256, 5120)


def test_time_delay_layers_equal_speechbrain():
    """SpeechBrain's x-vector with our weights; equal except in frames affected by its padding."""
    try:
        compat.speechbrain()
        from speechbrain.lobes.models.Xvector import Xvector
    except InputError as error:
        pytest.skip(str(error))
    mine = build(SMALL["xvector"], bins=20)
    sizes = [8, 8, 8, 8, 12]
    theirs = Xvector(
        device="cpu",
        activation=nn.ReLU,
        tdnn_blocks=5,
        tdnn_channels=sizes,
        tdnn_kernel_sizes=[5, 3, 3, 1, 1],
        tdnn_dilations=[1, 2, 3, 1, 1],
        lin_neurons=6,
        in_channels=20,
    ).eval()
    layers = [module for module in theirs.modules() if isinstance(module, nn.Conv1d | nn.BatchNorm1d)]
    own = [module for module in mine.frame if isinstance(module, nn.Conv1d | nn.BatchNorm1d)]
    for here, there in zip(own, layers, strict=True):
        if isinstance(here, nn.BatchNorm1d):
            nn.init.uniform_(here.running_mean)
            nn.init.uniform_(here.running_var, 0.5, 2)
        there.load_state_dict(here.state_dict())
    features = torch.randn(2, 50, 20)
    x = features
    for block in theirs.blocks[:-2]:  # without pooling and the layer after it
        x = block(x)
    torch.testing.assert_close(mine.frame(features.transpose(1, 2)), x.transpose(1, 2)[..., 7:-7])


# ---- padded batches and weights of frames: as each utterance, or each speaker, alone ----

NETWORKS = {name: randomise_norms(build(model)) for name, model in SMALL.items()}
MASKED = [name for name, network in NETWORKS.items() if network.masked]
FRAMES = [name for name, network in NETWORKS.items() if isinstance(network, FrameNetwork)]


def test_which_networks_take_padding():
    """All of these prove it below; a network that loses its proof must not lose its line here unnoticed."""
    families = {SMALL[name]["name"] for name in MASKED}
    assert families == {
        *("xvector", "ecapa_tdnn", "resnet", "preact_resnet", "res2net", "eres2net", "campplus", "pooled", "projected")
    }
    assert not {"ecapa_tdnn, SpeechBrain's", "xvector, SpeechBrain's"} & set(MASKED)  # they reflect at the end


@pytest.mark.parametrize("name", MASKED)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_padded_batch_equals_one_by_one(name, data):
    network = NETWORKS[name]
    least = network.min_frames
    lengths = data.draw(st.lists(st.integers(least, least + 230), min_size=1, max_size=4))
    rows = [torch.randn(length, 80) for length in lengths]
    padding = data.draw(st.sampled_from([0.0, 7.0]))
    batch = torch.full((len(rows), max(lengths) + data.draw(st.integers(0, 20)), 80), padding)
    for row, features in zip(batch, rows):
        row[: len(features)] = features
    with torch.inference_mode():
        got = network(batch, lengths=torch.tensor(lengths))
        expected = torch.cat([network(features[None]) for features in rows])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in FRAMES if name not in MASKED])
def test_other_networks_refuse_lengths(name):
    with pytest.raises(ValueError, match="needs utterances of equal length"):
        NETWORKS[name](torch.randn(2, 60, 80), lengths=torch.tensor([60, 50]))


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("frames", [64, 83])
def test_equal_weights_change_nothing_and_the_step_is_that_of_the_trunk(name, frames):
    network = NETWORKS[name]
    x = torch.randn(2, frames, 80)
    with torch.inference_mode():
        trunk = network.trunk(x, None).shape[-1]
        whole = frames - frames % getattr(network, "time_stride", 1)  # ReDimNet2 leaves out the rest
        assert trunk == len(range(whole)[network.edge : whole - network.edge : network.step])
        torch.testing.assert_close(network(x, weights=torch.full((2, frames), 0.5)), network(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FRAMES)
def test_speakers_of_one_recording(name):
    network = NETWORKS[name]
    x, weights = torch.randn(2, 64, 80), torch.rand(2, 3, 64)
    weights[:, 1, 32:] = 0
    with torch.inference_mode():
        got = network(x, weights=weights)
        assert got.shape == (2, 3, network.dim)
        for speaker in range(3):
            torch.testing.assert_close(got[:, speaker], network(x, weights=weights[:, speaker]))
    assert not torch.equal(got[:, 0], got[:, 1])


@pytest.mark.parametrize("name", MASKED)
def test_weights_of_a_padded_batch(name):
    network = NETWORKS[name]
    x, weights, lengths = torch.randn(2, 90, 80), torch.rand(2, 2, 90), torch.tensor([90, 61])
    if name.startswith("projected"):
        pytest.skip("has the frames of its network")
    with torch.inference_mode():
        got = network(x, lengths=lengths, weights=weights)
        expected = network(x[1:, :61], weights=weights[1:, :, :61])
    torch.testing.assert_close(got[1:], expected, rtol=1e-5, atol=1e-5)


def test_gate_of_campplus_ignores_padding():
    """A gate that is far from 0.5 in each direction, and utterances that end in different segments."""
    torch.manual_seed(0)
    layer = MaskedConv(6, 4, 1).eval()
    for gate in (layer.linear1, layer.linear2):
        nn.init.normal_(gate.weight)
    rows = [torch.randn(6, frames) for frames in (30, 99, 100, 230)]
    batch = torch.full((4, 6, 250), 9.0)
    for row, x in zip(batch, rows):
        row[:, : x.shape[-1]] = x
    with torch.inference_mode():
        got = layer(batch, masks.up_to(torch.tensor([30, 99, 100, 230]), 250))
        for row, x in zip(got, rows):
            torch.testing.assert_close(row[:, : x.shape[-1]], layer(x[None])[0], rtol=1e-5, atol=1e-5)
    assert got.isfinite().all()


def test_masks():
    mask = masks.up_to(torch.tensor([1, 3]), 4)
    assert mask.tolist() == [[True, False, False, False], [True, True, True, False]]
    x = torch.arange(16.0).view(2, 2, 4)
    assert masks.kept(x, mask).tolist() == [[[0, 0, 0, 0], [4, 0, 0, 0]], [[8, 9, 10, 0], [12, 13, 14, 0]]]
    assert masks.mean(x, mask).tolist() == [[0, 4], [9, 13]]
    assert masks.narrowed(mask, 2).tolist() == [[True, False], [True, True]]
