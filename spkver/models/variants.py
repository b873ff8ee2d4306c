"""Published sizes of the networks by name, with the published parameter counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Variant(NamedTuple):
    """Fields of the config; million parameters as published, if they are, and by whom; mel bins."""

    fields: Mapping[str, Any]
    published: float | None = None
    source: str = ""
    bins: int = 80


WESPEAKER = "WeSpeaker"
WESPEAKER_PORT = "WeSpeaker's port"  # other settings than the paper (1.0, 2.2, 4.7, 3.0, 6.3, 9.2, 15.0 M)
THREE_D = "3D-Speaker"
SIMAM_POOLING = {"name": "attentive_statistics", "activation": "relu_norm", "floor": 1e-5}

# channels, blocks, group, stages, bins, million parameters
REDIMNET: dict[str, tuple[int, str, int, tuple[tuple[int, int, int, int], ...], int, float]] = {
    "b0": (10, "resnet", 1, ((1, 2, 1, 30), (2, 3, 2, 30), (1, 3, 3, 30), (2, 4, 2, 10), (1, 3, 1, 10)), 60, 1.002),
    "b1": (12, "convnext", 8, ((1, 2, 1, 0), (2, 3, 1, 0), (3, 4, 1, 12), (2, 5, 1, 12), (2, 3, 1, 8)), 72, 2.123),
    "b2": (
        16,
        "convnext",
        4,
        ((1, 2, 1, 12), (2, 2, 1, 12), (1, 3, 1, 12), (2, 4, 1, 8), (1, 4, 1, 8), (2, 4, 1, 4)),
        72,
        4.888,
    ),
    "b3": (
        16,
        "resnet_se",
        1,
        ((1, 6, 4, 32), (2, 6, 2, 32), (1, 8, 2, 32), (2, 10, 2, 16), (1, 10, 1, 16), (2, 8, 1, 16)),
        72,
        3.220,
    ),
    "b4": (
        32,
        "resnet_se",
        1,
        ((1, 4, 2, 48), (2, 4, 2, 48), (1, 6, 2, 48), (2, 6, 1, 32), (1, 8, 1, 24), (2, 4, 1, 16)),
        72,
        6.432,
    ),
    "b5": (
        32,
        "resnet_se",
        16,
        ((1, 4, 2, 48), (2, 4, 2, 48), (1, 6, 2, 48), (2, 6, 1, 32), (1, 8, 1, 24), (2, 4, 1, 16)),
        72,
        7.651,
    ),
    "b6": (
        32,
        "resnet",
        32,
        ((1, 4, 4, 32), (2, 6, 2, 32), (1, 6, 2, 24), (3, 8, 1, 24), (1, 8, 1, 16), (2, 8, 1, 16)),
        72,
        15.006,
    ),
}

VARIANTS: dict[str, Variant] = {
    # our norms have gains and offsets (9,144 parameters), WeSpeaker's do not
    "tdnn": Variant({"name": "xvector", "layers_after_pooling": 2}, 4.61, WESPEAKER),
    "etdnn": Variant({"name": "xvector", "frame_layers": "extended", "layers_after_pooling": 2}),
    "ecapa_tdnn_512": Variant({"name": "ecapa_tdnn", "channels": 512}, 6.19, WESPEAKER),
    "ecapa_tdnn_1024": Variant({"name": "ecapa_tdnn", "channels": 1024}, 14.65, WESPEAKER),
    "ecapa_tdnn_speechbrain": Variant(
        {
            "name": "ecapa_tdnn",
            "channels": 1024,
            "aggregated": 3072,
            "pooling": {
                "name": "attentive_statistics",
                "context": True,
                "activation": "relu_norm_tanh",
                "floor": 1e-12,
            },
            "sum_inputs": False,
            "embedding_norm": False,
            "aggregation_norm": True,
            "padding": "reflect",
        },
        20.77,
        "SpeechBrain",
    ),
    **{
        f"resnet{depth}": Variant({"name": "resnet", "depth": depth}, published, WESPEAKER)
        for depth, published in (
            (18, 4.11),
            (34, 6.63),
            (50, 11.13),
            (101, 15.89),
            (152, 19.81),
            (221, 23.79),
            (293, 28.62),
        )
    },
    **{
        f"simam_resnet{depth}": Variant(
            {"name": "resnet", "depth": depth, "channels": 64, "attention": "simam", "pooling": SIMAM_POOLING},
            published,
            WESPEAKER,
        )
        for depth, published in ((34, 25.2), (100, 50.2))
    },
    "resnet_speechbrain": Variant({"name": "preact_resnet"}, 15.44, "SpeechBrain"),
    "res2net34_base": Variant({"name": "res2net", "dim": 192}, 4.03, THREE_D),
    "res2net34_large": Variant({"name": "res2net", "channels": 64, "dim": 192}, 12.171, WESPEAKER),
    "cam++": Variant({"name": "campplus"}, 7.18, THREE_D),
    "eres2net_base": Variant({"name": "eres2net"}, 6.61, THREE_D),
    "eres2net_large": Variant({"name": "eres2net", "channels": 64}, 22.46, THREE_D),
    "eres2netv2": Variant({"name": "eres2net", "channels": 64, "base_width": 26, "fused": "last"}, 17.86, THREE_D),
    "eres2netv2_w24s4ep4": Variant(
        {"name": "eres2net", "channels": 64, "base_width": 24, "scale": 4, "expansion": 4, "fused": "last"}
    ),
    **{
        f"redimnet_{size}": Variant(
            {"name": "redimnet", "channels": channels, "blocks": blocks, "group": group, "stages": stages},
            published,
            WESPEAKER_PORT,
            bins,
        )
        for size, (channels, blocks, group, stages, bins, published) in REDIMNET.items()
    },
}
