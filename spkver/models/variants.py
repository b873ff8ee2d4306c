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

# million parameters; fields beside the stages; stages as in the config, by column
REDIMNET2: dict[str, tuple[float, dict[str, Any], tuple[tuple[float, ...], ...]]] = {
    size: (published, fields, tuple(zip((1, 2, 1, wide, 1, 2), (1, 1, 2, 1, 2, 1), counts, multiples, divisors)))
    for size, published, fields, wide, counts, multiples, divisors in (
        ("b0", 1.1, {"channels": 12, "out": 64}, 2, (2, 3, 4, 5, 4, 3), (2, 1, 1, 1, 1, 1), (36, 36, 36, 36, 18, 18)),
        ("b1", 2.1, {"channels": 16}, 2, (2, 3, 4, 5, 4, 3), (2, 1, 1, 1, 1, 1), (32, 32, 32, 32, 16, 16)),
        ("b2", 3.6, {"channels": 20}, 3, (2, 3, 4, 5, 4, 3), (2, 1, 1, 1, 1, 1), (40, 30, 30, 20, 20, 10)),
        ("b3", 4.1, {"channels": 24}, 2, (2, 3, 4, 5, 4, 3), (4, 3, 2, 1, 1, 1), (24,) * 6),
        ("b4", 6.6, {"channels": 32}, 2, (2, 3, 4, 5, 4, 3), (4, 3, 2, 1, 1, 1), (24,) * 6),
        ("b5", 8.9, {"channels": 48, "out": 256}, 2, (2, 3, 4, 5, 4, 3), (4, 3, 2, 1, 1, 1), (48, 48, 48, 48, 32, 32)),
        (
            "b6",
            12.3,
            {"channels": 64, "out": 224},
            2,
            (3, 4, 5, 5, 4, 3),
            (3, 2, 2, 1, 0.75, 0.5),
            (64, 64, 48, 48, 32, 24),
        ),
    )
}

# blocks, multiples of the widths 64, 128, 256, 512; WeSpeaker's names
REPVGG: dict[str, tuple[tuple[int, int, int, int], tuple[float, float, float, float]]] = {
    "TINY_A0": ((3, 4, 23, 3), (0.5, 0.5, 0.5, 0.5)),
    "A0": ((2, 4, 14, 1), (0.75, 0.75, 0.75, 2.5)),
    "A1": ((2, 4, 14, 1), (1, 1, 1, 2.5)),
    "A2": ((2, 4, 14, 1), (1.5, 1.5, 1.5, 2.75)),
    "B0": ((4, 6, 16, 1), (1, 1, 1, 2.5)),
    "B1": ((4, 6, 16, 1), (2, 2, 2, 4)),
    "B2": ((4, 6, 16, 1), (2.5, 2.5, 2.5, 5)),
    "B3": ((4, 6, 16, 1), (3, 3, 3, 5)),
    "D2SE": ((8, 14, 24, 1), (2.5, 2.5, 2.5, 5)),
}


def repvgg(size: str, groups: int = 1, **more: Any) -> dict[str, Any]:
    """The config of a RepVGG by WeSpeaker's name of its size."""
    blocks, multiples = REPVGG[size]
    widths = [int((64 << stage) * multiple) for stage, multiple in enumerate(multiples)]
    return {"name": "repvgg", "blocks": blocks, "widths": widths, "groups": groups, **more}


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
    **{
        f"gemini_df_resnet{depth}": Variant({"name": "df_resnet", "depth": depth}, published, WESPEAKER)
        for depth, published in ((60, None), (114, 6.53), (183, None), (237, None))
    },
    "repvgg_tiny_a0": Variant({"name": "repvgg", "branches": False}, 6.26, WESPEAKER),
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
    **{
        f"redimnet2_{size}": Variant(
            {"name": "redimnet2", "stages": stages, **fields}, published, "ReDimNet2's paper", 72
        )
        for size, (published, fields, stages) in REDIMNET2.items()
    },
    "titanet_large": Variant({"name": "titanet"}),
    "titanet_small": Variant({"name": "titanet", "channels": 256}),
}
