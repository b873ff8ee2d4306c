"""ReDimNet's releases: one file with `model_config` and `state_dict`; the model includes the spectrogram."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spkver.errors import InputError
from spkver.interop.peers import networks
from spkver.interop.peers.files import read_checkpoint, tensors_in
from spkver.interop.peers.layout import Found, Layout

BLOCKS = {"convnext_like": "convnext", "basic_resnet": "resnet", "basic_resnet_fwse": "resnet_se"}
# the defaults of their constructor for keys that model_config omits
DEFAULTS: dict[str, Any] = {
    "F": 72,
    "C": 16,
    "block_1d_type": "att",
    "block_2d_type": "convnext_like",
    "group_divisor": 4,
    "embed_dim": 192,
    "hop_length": 160,
    "pooling_func": "ASTP",
    "feat_type": "pt",
    "global_context_att": False,
}
SPECTROGRAM: dict[str, Any] = {
    "sample_rate": 16000,
    "n_fft": 512,
    "win_length": 400,
    "f_min": 20,
    "f_max": 7600,
    "norm_signal": False,
    "do_preemph": True,
    "spec_norm": "mn",
}


class ReDimNetRelease:
    """B0 to B6, and other networks of the same components."""

    @staticmethod
    def recognises(source: Path) -> bool:
        """A file with `model_config`."""
        try:
            return source.is_file() and "model_config" in read_checkpoint(source)
        except (InputError, TypeError):
            return False

    @staticmethod
    def read(source: Path) -> Found:
        """Read a file. Raises InputError for unsupported components."""
        tree = read_checkpoint(source)
        if not isinstance(tree, Mapping) or not isinstance(tree.get("model_config"), Mapping):
            raise InputError(f"{source}: not a ReDimNet release (no model_config)")
        given = tree["model_config"]
        config = {**DEFAULTS, **given}
        where = f"{source}: model_config"
        must(config, "block_1d_type", ("conv+att",), where)
        must(config, "block_2d_type", tuple(BLOCKS), where)
        must(config, "pooling_func", ("ASTP",), where)
        must(config, "feat_type", ("pt", "pt_mel"), where)
        for key in ("out_channels", "emb_bn", "tf_optimized_arch", "return_all_outputs"):
            must(config, key, (None, False), where)
        stages = _stages(config, where)
        return Found(
            source,
            "a ReDimNet release",
            spectrogram(config, where),
            {
                "name": "redimnet",
                "channels": config["C"],
                "blocks": BLOCKS[config["block_2d_type"]],
                "group": config["group_divisor"],
                "stages": stages,
                "dim": config["embed_dim"],
                "pooling": {
                    "name": "attentive_statistics",
                    "unbiased": True,
                    "context": bool(config["global_context_att"]),
                },
            },
            tensors_in(tree, source),
            layout(stages),
            dropped=r"^spec\.|^cls_head\.",
        )


def layout(stages: list[tuple[int, int, int, int]]) -> Layout:
    """Layout of a release with these stages."""
    sums = [f"backbone.stage{number}.0.w" for number in range(len(stages))] + ["backbone.fin_wght1d.w"]
    rules = (
        (r"^pooling\.attention\.0\.", "pool.linear1."),
        (r"^pooling\.attention\.2\.", "pool.linear2."),
        (r"^pooling_norm\.", "bn."),
    )
    return networks.redimnet(stages, first=2, sums=sums, rules=rules)


def _stages(config: Mapping[str, Any], where: str) -> list[tuple[int, int, int, int]]:
    try:
        return [
            (int(divisor), int(blocks), int(multiple), int(reduction or 0))
            for divisor, blocks, multiple, _, reduction in config["stages_setup"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}.stages_setup: expected a list of five values each ({error})") from error


def spectrogram(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Our front end for their spectrogram in torchaudio."""
    given = {**SPECTROGRAM, **(config.get("spec_params") or {})}
    must(given, "spec_norm", ("mn",), f"{where}.spec_params")
    return {"name": "mel_spectrogram", **spectral(config, given)}


def spectral(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What both kinds of spectrogram have: rate, frames, band, pre-emphasis. given: the settings of theirs."""
    rate = int(given["sample_rate"])
    return {
        "sample_rate": rate,
        "bins": config["F"],
        "fft_size": given["n_fft"],
        "frame_length_ms": 1000 * given["win_length"] / rate,
        "frame_shift_ms": 1000 * config["hop_length"] / rate,
        "low_hz": given["f_min"],
        "high_hz": given["f_max"],
        "preemphasis": 0.97 if given["do_preemph"] else 0.0,
        "unit_variance": bool(given["norm_signal"]),
    }


def must(config: Mapping[str, Any], key: str, known: tuple[Any, ...], where: str) -> None:
    """Raise InputError for a value that is not one of the known ones."""
    if config.get(key) not in known:
        names = ", ".join(str(name) for name in known)
        raise InputError(f"{where}.{key}: {config.get(key)} is not supported; supported: {names}")
