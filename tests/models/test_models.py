from __future__ import annotations

import pytest
import torch
from torch import nn

from spkver import compat
from spkver.config import validate
from spkver.encoder import EncoderConfig
from spkver.errors import InputError
from spkver.models import MODELS


def build(model, bins=80):
    config = validate(EncoderConfig, {"model": model}).model
    torch.manual_seed(0)
    return MODELS.build(config, bins).eval()


def millions(model):
    return sum(parameter.numel() for parameter in build(model).parameters()) / 1e6


SMALL = {
    "xvector": {"name": "xvector", "channels": 8, "pooled_channels": 12, "dim": 6},
    "xvector, two layers": {"name": "xvector", "channels": 8, "dim": 6, "layers_after_pooling": 2},
    "xvector, attention": {"name": "xvector", "channels": 8, "dim": 6, "pooling": "attentive_statistics"},
    "xvector, mean": {"name": "xvector", "channels": 8, "dim": 6, "pooling": "mean"},
    "resnet18": {"name": "resnet", "depth": 18, "channels": 4, "dim": 6},
    "resnet34": {"name": "resnet", "channels": 4, "dim": 6, "pooling": {"name": "attentive_statistics", "hidden": 4}},
    "mean_fbank": {"name": "mean_fbank"},
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("bins", [80, 41])
def test_shapes(name, bins):
    network = build(SMALL[name], bins)
    for frames in (network.min_frames, network.min_frames + 1, 57):
        out = network(torch.randn(3, frames, bins))
        assert out.shape == (3, network.dim) and out.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_of_a_single_pooled_frame_is_finite(name):
    network = build(SMALL[name]).train()
    features = torch.randn(2, network.min_frames, 80, requires_grad=True)
    network(features).square().sum().backward()
    assert features.grad.isfinite().all()
    for parameter in network.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_shortest_inputs():
    network = build(SMALL["xvector"])
    assert network.min_frames == 15  # the context of frame5
    with pytest.raises(RuntimeError):
        network(torch.randn(1, 14, 80))
    # a ResNet pads, so fewer frames would compute; eight are one frame before pooling that is not mostly padding
    trunk = build(SMALL["resnet18"])
    assert trunk.min_frames == 8


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_is_what_one_by_one_gives(name):
    network = build(SMALL[name])
    batch = torch.randn(4, 40, 80)
    one_by_one = torch.cat([network(row[None]) for row in batch])
    torch.testing.assert_close(network(batch), one_by_one, rtol=1e-4, atol=1e-5)


def test_parameter_counts():
    """ResNets as published (WeSpeaker, 80 bins, 256 dimensions)."""
    assert millions({"name": "resnet", "depth": 34}) == pytest.approx(6.634, rel=1e-3)
    assert millions({"name": "resnet", "depth": 18}) == pytest.approx(4.105, rel=1e-3)
    # frame layers 2.818 M, of these 7,096 the norms' gains and offsets; segment6 is 3000 x dim, its bias and norm
    assert millions("xvector") == pytest.approx(4.356, rel=1e-3)
    assert millions({"name": "xvector", "dim": 256}) == pytest.approx(3.587, rel=1e-3)
    # with two layers after pooling: WeSpeaker's 4.611 M (norms without gains) and our norms' 9,144
    assert millions({"name": "xvector", "layers_after_pooling": 2}) == pytest.approx(4.611 + 0.009144, rel=1e-3)


def test_resnet_is_named_as_wespeaker_names_it():
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


def test_time_delay_layers_are_speechbrains():
    """Its x-vector with our weights, a valid convolution where it pads: equal where no padding reaches."""
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
