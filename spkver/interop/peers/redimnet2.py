"""ReDimNet2's releases: one file with `model_config` and `state_dict`; the model includes the spectrogram."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spkver.errors import InputError
from spkver.interop.peers import networks
from spkver.interop.peers.files import read_checkpoint, tensors_in
from spkver.interop.peers.layout import Found, Layout, Rule
from spkver.interop.peers.redimnet import BLOCKS, SPECTROGRAM, must, spectral, spectrogram

# the defaults of their constructor for keys that model_config omits
DEFAULTS: dict[str, Any] = {
    "F": 72,
    "C": 24,
    "block_1d_type": "conv+att",
    "block_2d_type": "basic_resnet",
    "compress_tconvs": True,
    "group_divisor": 1,
    "embed_dim": 192,
    "hop_length": 160,
    "pooling_func": "ASTP",
    "feat_type": "pt",
    "fm_weigthing_type": "NC",
    "global_context_att": True,
}
OFF = ("use_freq_pos_enc", "emb_bn", "return_all_outputs", "pad_right_samples", "before_pool_offset")


class ReDimNet2Release:
    """B0 to B6, and other networks of the same components."""

    @staticmethod
    def recognises(source: Path) -> bool:
        """A file with `model_config` whose stages have a stride over time."""
        try:
            tree = read_checkpoint(source) if source.is_file() else None
            return isinstance(tree, Mapping) and _paired(tree["model_config"]["stages_setup"])
        except (InputError, TypeError, KeyError, IndexError):
            return False

    @staticmethod
    def read(source: Path) -> Found:
        """Read a file. Raises InputError for unsupported components."""
        tree = read_checkpoint(source)
        given = tree.get("model_config") if isinstance(tree, Mapping) else None
        if not isinstance(given, Mapping) or not _paired(given.get("stages_setup") or ()):
            raise InputError(f"{source}: not a ReDimNet2 release (no model_config with strides over time)")
        config = {**DEFAULTS, **given}
        where = f"{source}: model_config"
        must(config, "block_1d_type", ("conv+att",), where)
        must(config, "block_2d_type", tuple(BLOCKS), where)
        must(config, "pooling_func", ("ASTP",), where)
        must(config, "feat_type", ("pt", "pt_mel", "tf", "tf_mel"), where)
        must(config, "fm_weigthing_type", ("NC",), where)
        must(config, "causal", (None, False, "none"), where)
        must(config, "spec_in_channels", (None, 1), where)
        for key in OFF:
            must(config, key, (None, False), where)
        stages = tuple(
            (int(stride[0]), int(stride[1]), int(blocks), float(multiple), int(divisor or 0))
            for stride, blocks, multiple, _, divisor in config["stages_setup"]
        )
        both = bool(config.get("dual_agg"))
        return Found(
            source,
            "a ReDimNet2 release",
            _front_end(config, where),
            {
                "name": "redimnet2",
                "channels": config["C"],
                "blocks": BLOCKS[config["block_2d_type"]],
                "group": config["group_divisor"],
                "stages": stages,
                "grouped": bool(config["compress_tconvs"]),
                "out": config.get("out_channels") or 0,
                "plane_out": bool(config.get("return_2d_output")),
                "both": both,
                "signal_norm": bool(config.get("agg_gnorm")),
                "dim": config["embed_dim"],
                "pooling": {
                    "name": "attentive_statistics",
                    "unbiased": True,
                    "context": bool(config["global_context_att"]),
                },
            },
            tensors_in(tree, source),
            layout(stages, both),
            dropped=r"^spec\.|^cls_head\.",
        )


def layout(stages: tuple[tuple[int, int, int, float, int], ...], both: bool) -> Layout:
    """Layout of a release with these stages. both: `dual_agg`, which splits stages with a block over time"""
    rules: list[Rule] = [
        (r"^pooling\.attention\.0\.", "pool.linear1."),
        (r"^pooling\.attention\.2\.", "pool.linear2."),
        (r"^pooling_norm\.", "bn."),
        (r"^stem_norm\.", "backbone.stem_gnorm."),
        (r"^head\.", "backbone.head."),
    ]
    for number, (_, _, blocks, multiple, divisor) in enumerate(stages):
        here, there = rf"^stages\.{number}\.", f"backbone.stage{number}"
        after = 4 + blocks + (multiple != 1)  # the sum, reshaping, convolution, blocks, squeeze, reshaping
        if both and divisor:
            rules += [
                (rf"{here}norms\.0\.", f"{there}_up_2d.1."),
                (rf"{here}norms\.1\.", f"{there}_up_1d.1."),
                (rf"{here}time\.reduce\.", f"{there}_1d.red_dim_conv."),
                (rf"{here}time\.context\.", f"{there}_1d.tcm."),
                (rf"{here}time\.expand\.", f"{there}_1d.exp_dim_conv."),
            ]
        else:
            rules.append((rf"{here}norms\.0\.", f"{there}.{after + bool(divisor) + 1}."))
    plain = networks.redimnet(
        [(frequency, blocks, multiple, divisor) for frequency, _, blocks, multiple, divisor in stages],
        first=2,
        sums=[f"backbone.stage{number}.0.w" for number in range(len(stages))] + ["backbone.fin_wght1d.w"],
        rules=rules,
    )
    if not both:
        return plain
    split = [number for number, stage in enumerate(stages) if stage[-1]]
    names = [*plain.names, *((rf"^backbone\.stage{number}\.", f"backbone.stage{number}_pre.") for number in split)]
    start = "backbone.stage0_pre." if 0 in split else "backbone.stage0."
    constants = {name.replace("backbone.stage0.", start): one for name, one in plain.constants.items()}
    return Layout(tuple(names), constants=constants)


def _paired(stages: Any) -> bool:
    return len(stages) > 0 and isinstance(stages[0][0], list | tuple)


def _front_end(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    if config["feat_type"] in ("pt", "pt_mel"):
        return spectrogram(config, where)
    given = {**SPECTROGRAM, "eps": 1e-8, **(config.get("spec_params") or {})}
    return {"name": "tf_mel", **spectral(config, given), "floor": given["eps"]}
