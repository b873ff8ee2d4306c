"""3D-Speaker's checkpoints: plain state_dicts. Tensor names and shapes identify the network.

They do not always identify the front end: CAM++, Res2Net and ResNet have the same tensors in WeSpeaker, ECAPA-TDNN has
the same in SpeechBrain, and 3D-Speaker itself trains ECAPA-TDNN on other features in RDINO and SDPN.

A folder may be one of 3D-Speaker (`CKPT-EPOCH-70-00/embedding_model.ckpt`) or of ModelScope (one .bin, .ckpt or .pt
file).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from spkver.errors import InputError
from spkver.interop.peers import networks
from spkver.interop.peers.files import read_checkpoint, tensors_in
from spkver.interop.peers.layout import Found, Layout
from spkver.models.resnet import BLOCKS, BasicBlock
from spkver.models.variants import VARIANTS

STATISTICS = {"name": "statistics", "unbiased": True, "floor": 1e-8}
OF_CAMPPLUS = {**STATISTICS, "floor": 1e-14}  # theirs has no floor
ECAPA = "ECAPA-TDNN"
# possible front ends of networks whose tensors do not identify it, each with the toolkit whose models use it
FRONT_ENDS = {
    ECAPA: {"3dspeaker": "3dspeaker", "rdino": "3dspeaker", "speechbrain": "speechbrain"},
    **{about: {"3dspeaker": "3dspeaker", "wespeaker": "wespeaker"} for about in ("CAM++", "Res2Net", "ResNet")},
}
NAMES = ("embedding_model.ckpt",)
SUFFIXES = (".bin", ".ckpt", ".pt", ".pth")
Shapes = Mapping[str, tuple[int, ...]]


class ThreeDSpeaker:
    """CAM++, ERes2Net, ERes2NetV2, Res2Net, ResNet, ECAPA-TDNN and x-vector."""

    @staticmethod
    def recognises(source: Path) -> bool:
        """A checkpoint with the tensor names of one of their networks."""
        try:
            file = _file(source)
            return bool(_network(_shapes(_tensors(file)[0]), file))
        except InputError:
            return False

    @staticmethod
    def read(source: Path) -> Found:
        """Read a checkpoint. Raises InputError for any other network."""
        file = _file(source)
        tensors, self_supervised = _tensors(file)
        about, fields, bins, layout = _network(_shapes(tensors), file)
        front_end = {"name": "rdino" if self_supervised else "3dspeaker", "bins": bins}
        possible = {} if self_supervised else FRONT_ENDS.get(about.rstrip("0123456789"), {})
        return Found(file, f"3D-Speaker's {about}", front_end, fields, tensors, layout, front_ends=possible)


def _file(source: Path) -> Path:
    if source.is_file():
        return source
    for name in NAMES:
        if (source / name).is_file():
            return source / name
    found = sorted(file for file in source.iterdir() if file.suffix in SUFFIXES)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InputError(
            f"{source}: expected one checkpoint ({', '.join(SUFFIXES)}), found {names}; give the path of the file"
        )
    return found[0]


def _tensors(file: Path) -> tuple[dict[str, Tensor], bool]:
    """The tensors of the network, and whether they are those of the teacher in a checkpoint of RDINO or SDPN."""
    tree = read_checkpoint(file)
    if not isinstance(tree, Mapping) or not isinstance(tree.get("teacher"), Mapping):
        return tensors_in(tree, file), False
    teacher = tensors_in(tree["teacher"], file)
    return {key.removeprefix("backbone."): value for key, value in teacher.items() if key.startswith("backbone.")}, True


def _shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _network(shapes: Shapes, file: Path) -> tuple[str, dict[str, Any], int, Layout]:
    """Identify the network of a state_dict: name, our config, number of mel bins, layout."""
    try:
        if "xvector.tdnn.linear.weight" in shapes:
            return _campplus(shapes)
        if "blocks.0.conv.conv.weight" in shapes:
            return _ecapa(shapes)
        if "layer1.0.convs.0.weight" in shapes:
            return _res2net(shapes)
        if "layer1.0.conv2.weight" in shapes:
            return _resnet(shapes)
        if "frame_1.conv_1d.weight" in shapes and "seg_2.weight" not in shapes:
            return _xvector(shapes)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(
            f"{file}: similar to a network of 3D-Speaker, but {error} is missing or has an unexpected shape"
        ) from error
    some = ", ".join(list(shapes)[:3])
    raise InputError(
        f"{file}: the tensors ({some}, ...) match none of CAM++, ERes2Net, ERes2NetV2, Res2Net, ResNet, "
        "ECAPA-TDNN, x-vector"
    )


def _campplus(shapes: Shapes) -> tuple[str, dict[str, Any], int, Layout]:
    front = shapes["head.conv1.weight"][0]
    fields = {
        "name": "campplus",
        "front_channels": front,
        "channels": shapes["xvector.tdnn.linear.weight"][0],
        "growth": shapes["xvector.block1.tdnnd1.cam_layer.linear_local.weight"][0],
        "bottleneck": shapes["xvector.block1.tdnnd1.linear1.weight"][0],
        "dim": shapes["xvector.dense.linear.weight"][0],
        "pooling": OF_CAMPPLUS,
    }
    return "CAM++", fields, shapes["xvector.tdnn.linear.weight"][1] // front * 8, networks.CAMPPLUS


def _ecapa(shapes: Shapes) -> tuple[str, dict[str, Any], int, Layout]:
    channels, bins, _ = shapes["blocks.0.conv.conv.weight"]
    fields = {
        **VARIANTS["ecapa_tdnn_speechbrain"].fields,
        "channels": channels,
        "aggregated": shapes["mfa.conv.conv.weight"][0],
        "scale": 1 + _count(shapes, "blocks.1.res2net_block.blocks.{}.conv.conv.weight"),
        "se_hidden": shapes["blocks.1.se_block.conv1.conv.weight"][0],
        "dim": shapes["fc.conv.weight"][0],
    }
    fields["pooling"] = {**fields["pooling"], "hidden": shapes["asp.tdnn.conv.conv.weight"][0]}
    return ECAPA, fields, bins, networks.ECAPA_SPEECHBRAIN


def _res2net(shapes: Shapes) -> tuple[str, dict[str, Any], int, Layout]:
    channels, part = shapes["conv1.weight"][0], shapes["layer1.0.convs.0.weight"][0]
    convolved = _count(shapes, "layer1.0.convs.{}.weight")
    expansion = shapes["layer1.0.conv3.weight"][0] // channels
    fields = {
        "channels": channels,
        # the smallest base_width for which int(channels * base_width / 64) is the size of a part
        "base_width": -(-part * 64 // channels),
        "expansion": expansion,
        **_after_pooling(shapes),
    }
    bins = _bins(shapes, channels * expansion)
    if "layer1_downsample.weight" in shapes:
        return "ERes2Net", {"name": "eres2net", "scale": convolved, **fields}, bins, networks.ERES2NET
    if "layer3_ds.weight" in shapes:
        fields = {"name": "eres2net", "scale": convolved, "fused": "last", **fields}
        return "ERes2NetV2", fields, bins, networks.ERES2NETV2
    return "Res2Net", {"name": "res2net", "scale": convolved + 1, **fields}, bins, networks.RESNET


def _resnet(shapes: Shapes) -> tuple[str, dict[str, Any], int, Layout]:
    counts = tuple(_count(shapes, f"layer{number}.{{}}.conv1.weight") for number in range(1, 5))
    basic = "layer1.0.conv3.weight" not in shapes
    depths = [depth for depth, (block, sizes) in BLOCKS.items() if (block is BasicBlock, sizes) == (basic, counts)]
    if not depths:
        raise ValueError(f"a depth for stages of {counts} blocks")
    depth = depths[0]
    channels = shapes["conv1.weight"][0]
    fields = {"name": "resnet", "depth": depth, "channels": channels, **_after_pooling(shapes)}
    return f"ResNet{depth}", fields, _bins(shapes, channels * (1 if basic else 4)), networks.RESNET


def _xvector(shapes: Shapes) -> tuple[str, dict[str, Any], int, Layout]:
    channels, bins, _ = shapes["frame_1.conv_1d.weight"]
    pooled = shapes["frame_5.conv_1d.weight"][0]
    dim, pooled_values = shapes["seg_1.weight"]
    fields = {
        "name": "xvector",
        "channels": channels,
        "pooled_channels": pooled,
        "dim": dim,
        "embedding_norm": False,
        "pooling": STATISTICS,
    }
    if pooled_values != 2 * pooled:
        raise ValueError(f"an affine layer of {2 * pooled} values")
    return "x-vector", fields, bins, networks.XVECTOR


def _after_pooling(shapes: Shapes) -> dict[str, Any]:
    return {
        "dim": shapes["seg_1.weight"][0],
        "pooling": STATISTICS,
        "layers_after_pooling": 2 if "seg_2.weight" in shapes else 1,
    }


def _bins(shapes: Shapes, width: int) -> int:
    """Number of mel bins: the affine layer gets mean and deviation of 8 * width channels of bins / 8 each."""
    return shapes["seg_1.weight"][1] // (2 * width)


def _count(shapes: Shapes, name: str) -> int:
    """The number of tensors with a numbered name, counted from 0."""
    number = 0
    while name.format(number) in shapes:
        number += 1
    return number
