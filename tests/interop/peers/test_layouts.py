"""Compare the tensor names and shapes of our layouts with those of the publishers' code.

A digest is that of the sorted lines `name shape` of `state_dict()` of a publisher's class, with 192-dimensional
embeddings and their default mel bins (WeSpeaker's from the package wespeaker-unofficial 0.0.2, 3D-Speaker's from
modelscope 1.40.2, ReDimNet's, ReDimNet2's, Gemini DF-ResNet's and RepVGG's from WeSpeaker's repository).
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
    "Gemini_DF_ResNet60": (356, "c6c63317ff0b4e0b"),
    "Gemini_DF_ResNet114": (680, "c841d75c3a0383f4"),
    "Gemini_DF_ResNet183": (1094, "84741d64c4a3f867"),
    "Gemini_DF_ResNet237": (1418, "a5a86760c249196b"),
    "REPVGG_TINY_A0": (560, "71515e7227efea14"),
    "REPVGG_A0": (356, "7a6da31149fe6436"),
    "REPVGG_A1": (356, "b7f342895d5aa37d"),
    "REPVGG_A2": (351, "dc4afc1d3b4e66cd"),
    "REPVGG_B0": (458, "c7c37215a73df766"),
    "REPVGG_B1": (453, "1225447a15950fff"),
    "REPVGG_B2": (453, "dd13a935fb8e497e"),
    "REPVGG_B3": (453, "6e87c20c10c1b045"),
    "REPVGG_D2SE": (985, "718f793000017bf1"),
    "REPVGG_B1g2": (453, "21639b7d4b4c3654"),
    "REPVGG_B1g4": (453, "9179b1f70255e880"),
    "REPVGG_B2g2": (453, "4c3b6991022e5654"),
    "REPVGG_B2g4": (453, "3df823d4d81774a2"),
    "REPVGG_B3g2": (453, "0b4a08a50d97f01e"),
    "REPVGG_B3g4": (453, "d74ade6c66540895"),
    "REPVGG_TINY_RSBB_A0": (560, "b73cc411768665b8"),
    "REPVGG_RSBB_A0": (356, "e298a6a64eb1debc"),
    "REPVGG_RSBB_A2": (351, "3bb56d63b766de45"),
    "REPVGG_RSBB_B0": (458, "2d4e7302ef67c940"),
    "ReDimNetB0": (583, "739fabce551e428e"),
    "ReDimNetB1": (353, "a1f005dc0ce2d7a3"),
    "ReDimNetB2": (548, "9fd367f96cde5a46"),
    "ReDimNetB3": (1373, "39b813aaa09f84a2"),
    "ReDimNetB4": (1044, "24911b994c1234e5"),
    "ReDimNetB5": (1044, "23e324321f212b7b"),
    "ReDimNetB6": (1044, "41b032754638a9f7"),
    "ReDimNet2B0": (727, "b0c3eeffedaca4d2"),
    "ReDimNet2B1": (727, "67181fb0581fb7b4"),
    "ReDimNet2B2": (727, "926d5c709cf95ffc"),
    "ReDimNet2B3": (727, "27ac9cd32e2da767"),
    "ReDimNet2B4": (739, "5d0e28335d5c362a"),
    "ReDimNet2B5": (741, "4c360f0374291779"),
    "ReDimNet2B6": (803, "2bffd05040be53d7"),
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
