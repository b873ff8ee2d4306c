"""Compare the tensor names and shapes of our layouts with those of the publishers' code.

A digest is that of the sorted lines `name shape` of `state_dict()` of a publisher's class, with 192-dimensional
embeddings and their default mel bins (WeSpeaker's from the package wespeaker-unofficial 0.0.2, 3D-Speaker's from
modelscope 1.40.2, ReDimNet's from WeSpeaker).
"""

from __future__ import annotations

import hashlib

import pytest
import torch

from spkver.config import validate
from spkver.encoder import EncoderConfig
from spkver.interop.peers import networks, wespeaker
from spkver.interop.peers.layout import Found, to_ours, to_theirs
from spkver.models import MODELS
from spkver.models.variants import VARIANTS

WESPEAKER = {
    "XVEC": (32, "926f780c870b701e"),
    "XI_VEC_XVEC": (43, "4f294b250c571a8a"),
    "ECAPA_TDNN_c512": (221, "f62120369c37d4d5"),
    "ECAPA_TDNN_GLOB_c512": (221, "c461167df43fdff3"),
    "XI_VEC_ECAPA_TDNN_c512": (228, "e3ce23229b9ba05b"),
    "ECAPA_TDNN_c1024": (221, "873746c720dadafb"),
    "ECAPA_TDNN_GLOB_c1024": (221, "99c7fff3ad013fc1"),
    "XI_VEC_ECAPA_TDNN_c1024": (228, "7fdfeec84712a80f"),
    "ResNet18": (122, "4466c804625a2ffc"),
    "ResNet34": (218, "5f40ce9a987abdf4"),
    "ResNet50": (320, "4466ae68636d42b0"),
    "ResNet101": (626, "ca9dd900568d5489"),
    "ResNet152": (932, "e95a809fbd74ea84"),
    "ResNet221": (1346, "d93819670871ea78"),
    "ResNet293": (1778, "27a43a285544b309"),
    "SimAM_ResNet34_ASP": (227, "902784186a18076f"),
    "SimAM_ResNet100_ASP": (623, "b6c7910265fb607d"),
    "CAMPPlus": (937, "2958fda68cb1e0e2"),
    "ERes2Net34_Base": (587, "2b32d97d61b78ab1"),
    "ERes2Net34_Large": (587, "9415afe2516ea6d6"),
    "ERes2Net34_aug": (809, "336e516efb6ed0ce"),
    "Res2Net34_Base": (320, "d86e3d8704ab3458"),
    "Res2Net34_Large": (320, "9d808effec19ceab"),
    "ReDimNetB0": (583, "739fabce551e428e"),
    "ReDimNetB1": (353, "a1f005dc0ce2d7a3"),
    "ReDimNetB2": (548, "9fd367f96cde5a46"),
    "ReDimNetB3": (1373, "39b813aaa09f84a2"),
    "ReDimNetB4": (1044, "24911b994c1234e5"),
    "ReDimNetB5": (1044, "23e324321f212b7b"),
    "ReDimNetB6": (1044, "41b032754638a9f7"),
}

THREE_D = {
    "eres2net_base": (587, "e7c257de150d732b"),
    "eres2netv2": (557, "58c1c45014a39044"),
    "eres2netv2_w24s4ep4": (1001, "e8dea7f0f6deabc6"),
    "cam++": (937, "2958fda68cb1e0e2"),
    "resnet34": (223, "54563677c44a8b6c"),
    "res2net34_base": (320, "d86e3d8704ab3458"),
    "ecapa_tdnn_speechbrain": (231, "a935bec92e2078e6"),
}
LAYOUTS = {
    "cam++": networks.CAMPPLUS,
    "eres2net_base": networks.ERES2NET,
    "eres2netv2": networks.ERES2NETV2,
    "eres2netv2_w24s4ep4": networks.ERES2NETV2,
    "ecapa_tdnn_speechbrain": networks.ECAPA_SPEECHBRAIN,
}


def build(model, bins=80):
    with torch.device("meta"):
        return MODELS.build(validate(EncoderConfig, {"model": model}).model, bins)


def digest(state):
    lines = sorted(f"{name} {tuple(value.shape)}" for name, value in state.items())
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def as_theirs(network, layout):
    """The tensors in their layout. Weights are 1, as expected of tensors that they do not have."""
    real = {name: torch.zeros(value.shape) for name, value in network.state_dict().items()}
    ones = {name: torch.ones_like(value) if name.endswith("weight") else value for name, value in real.items()}
    return to_theirs(ones, layout)


def test_every_wespeaker_network_is_tested():
    assert set(WESPEAKER) == set(wespeaker.NETWORKS)


@pytest.mark.parametrize("name", WESPEAKER)
def test_layout_matches_wespeaker(name):
    network = wespeaker.NETWORKS[name]
    fields = wespeaker.fields(network, {"embed_dim": 192}, "config")
    bins = 60 if name == "ReDimNetB0" else 72 if "ReDimNet" in name else 80
    assert digest(as_theirs(build(fields, bins), wespeaker.layout(network))) == WESPEAKER[name]


@pytest.mark.parametrize("name", THREE_D)
def test_layout_matches_3d_speaker(name):
    more = {"layers_after_pooling": 2} if name == "resnet34" else {}
    network = build({"name": name, "dim": 192, **more})
    assert VARIANTS[name].fields["name"] != "mean_fbank"
    assert digest(as_theirs(network, LAYOUTS.get(name, networks.RESNET))) == THREE_D[name]


@pytest.mark.parametrize("name", ["XVEC", "ECAPA_TDNN_GLOB_c512", "ResNet18", "SimAM_ResNet34_ASP", "CAMPPlus"])
def test_layout_round_trip_restores_the_tensors(name, tmp_path):
    network = wespeaker.NETWORKS[name]
    ours = build(wespeaker.fields(network, {"embed_dim": 8}, "config")).to_empty(device="cpu")
    layout = wespeaker.layout(network)
    torch.manual_seed(0)
    for key, value in ours.state_dict().items():
        if layout.their_name(key) is None:
            value.fill_(1.0 if key.endswith("weight") else 0.0)
        elif value.is_floating_point():
            value.normal_()
        else:
            value.fill_(3)
    state = ours.state_dict()
    found = Found(tmp_path, name, {}, {}, to_theirs(state, layout), layout)
    back, dropped = to_ours(found, ours)
    assert not dropped and list(back) == list(state)
    assert all(torch.equal(back[key], value) and back[key].dtype == value.dtype for key, value in state.items())
