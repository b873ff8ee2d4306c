"""SpeechBrain's pretrained folders: embedding_model.ckpt, and hyperparams.yaml, which is read as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spkver.errors import InputError
from spkver.interop.peers import networks
from spkver.interop.peers.files import Tagged, read_checkpoint, read_yaml, tensors_in
from spkver.interop.peers.layout import Found, Layout
from spkver.models.variants import VARIANTS
from spkver.models.xvector import CONTEXTS

SETTINGS = "hyperparams.yaml"
WEIGHTS = "embedding_model.ckpt"
MEAN = "mean_var_norm_emb.ckpt"

_XVECTOR = Layout(
    names=(
        (r"^frame\.(\d+)\.", lambda at: f"blocks.{at[1]}.{'norm' if int(at[1]) % 3 else 'conv'}."),
        (r"^segment\.0\.", "blocks.16.w."),
    )
)
# their feature planes are (time, bins)
_RESNET = Layout(
    names=(
        (r"\.shortcut\.", ".downsample."),
        (r"^pooling\.attention\.", "attention."),
        (r"^seg_1\.", "fc_embed."),
    ),
    turned=True,
)


class SpeechBrain:
    """x-vector, ECAPA-TDNN and ResNet."""

    @staticmethod
    def recognises(source: Path) -> bool:
        """A folder with hyperparams.yaml, or a file in it."""
        return (source / SETTINGS).is_file() or (source.is_file() and (source.parent / SETTINGS).is_file())

    @staticmethod
    def read(source: Path) -> Found:
        """Read a folder. Raises InputError for unsupported networks and front ends."""
        folder = source if source.is_dir() else source.parent
        settings = read_yaml(folder / SETTINGS)
        where, file = str(folder / SETTINGS), folder / WEIGHTS if source.is_dir() else source
        network, arguments = _made(settings, "embedding_model", where)
        tensors = tensors_in(read_checkpoint(file), file)
        kinds = {"Xvector": _xvector, "ECAPA_TDNN": _ecapa, "ResNet": _resnet}
        if network not in kinds:
            raise InputError(f"{where}: the network '{network}' is not supported; supported: {', '.join(kinds)}")
        fields, layout = kinds[network](arguments, where)
        if network == "Xvector":
            tensors = _without_epsilon(tensors, file)
        return Found(
            file,
            f"SpeechBrain's {network}",
            _front_end(settings, where),
            fields,
            tensors,
            layout,
            mean=_mean(folder / MEAN),
        )


def _made(settings: Mapping[str, Any], key: str, where: str) -> tuple[str, Mapping[str, Any]]:
    """Class name and arguments of an object of the settings (`!new:package.Class`)."""
    value = settings.get(key)
    if not isinstance(value, Tagged) or not value.tag.startswith("!new:"):
        raise InputError(f"{where}: {key} is missing (expected `{key}: !new:...`)")
    return value.tag.rpartition(".")[2], value.value if isinstance(value.value, Mapping) else {}


def _only(arguments: Mapping[str, Any], key: str, expected: Any, where: str) -> None:
    """Raises InputError if an argument differs from the value that all published models have."""
    if key in arguments and arguments[key] != expected:
        raise InputError(f"{where}: {key}: {arguments[key]} is not supported; supported: {expected}")


def _ecapa(arguments: Mapping[str, Any], where: str) -> tuple[dict[str, Any], Layout]:
    channels = list(arguments.get("channels", [512, 512, 512, 512, 1536]))
    if len(channels) != 5 or len(set(channels[:4])) > 1:
        raise InputError(
            f"{where}: channels: {channels} is not supported; supported: five values, the first four equal"
        )
    _only(arguments, "kernel_sizes", [5, 3, 3, 3, 1], where)
    _only(arguments, "dilations", [1, 2, 3, 4, 1], where)
    _only(arguments, "groups", [1, 1, 1, 1, 1], where)
    _only(arguments, "global_context", True, where)
    fields = {
        **VARIANTS["ecapa_tdnn_speechbrain"].fields,
        "channels": channels[0],
        "aggregated": channels[4],
        "scale": arguments.get("res2net_scale", 8),
        "se_hidden": arguments.get("se_channels", 128),
        "dim": arguments.get("lin_neurons", 192),
    }
    fields["pooling"] = {**fields["pooling"], "hidden": arguments.get("attention_channels", 128)}
    return fields, networks.ECAPA_SPEECHBRAIN


def _xvector(arguments: Mapping[str, Any], where: str) -> tuple[dict[str, Any], Layout]:
    channels = list(arguments.get("tdnn_channels", [512, 512, 512, 512, 1500]))
    contexts = CONTEXTS["tdnn"]
    if len(channels) != 5 or len(set(channels[:4])) > 1:
        raise InputError(
            f"{where}: tdnn_channels: {channels} is not supported; supported: five values, the first four equal"
        )
    _only(arguments, "tdnn_blocks", 5, where)
    _only(arguments, "tdnn_kernel_sizes", [kernel for kernel, _ in contexts], where)
    _only(arguments, "tdnn_dilations", [dilation for _, dilation in contexts], where)
    activation = str(getattr(arguments.get("activation"), "tag", "LeakyReLU")).rpartition(".")[2]
    activations = {"LeakyReLU": "leaky_relu", "ReLU": "relu"}
    if activation not in activations:
        raise InputError(f"{where}: activation: {activation} is not supported; supported: {', '.join(activations)}")
    fields = {
        "name": "xvector",
        "channels": channels[0],
        "pooled_channels": channels[4],
        "dim": arguments.get("lin_neurons", 512),
        "activation": activations[activation],
        "padding": "reflect",
        "embedding_norm": False,
        "pooling": {"name": "statistics", "unbiased": True, "floor": 1e-12},
    }
    return fields, _XVECTOR


def _without_epsilon(tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Fold the constants that their pooling adds into the bias of the next layer.

    They add 1e-5 to every standard deviation, and random noise between 1e-5 and 9e-5 to every mean. This uses its mean.
    """
    if not {"blocks.16.w.weight", "blocks.16.w.bias"} <= set(tensors):
        return tensors  # `to_ours` reports missing tensors
    weight = tensors["blocks.16.w.weight"].double()
    means, deviations = weight.sum(dim=1) if weight.dim() < 2 else weight.chunk(2, dim=1)
    offset = tensors["blocks.16.w.bias"].double() + 5e-5 * means.sum(dim=1) + 1e-5 * deviations.sum(dim=1)
    return {**tensors, "blocks.16.w.bias": offset.float()}


def _resnet(arguments: Mapping[str, Any], where: str) -> tuple[dict[str, Any], Layout]:
    _only(arguments, "block_sizes", [3, 4, 6, 3], where)
    _only(arguments, "strides", [1, 2, 2, 2], where)
    fields = {
        "name": "preact_resnet",
        "channels": list(arguments.get("channels", [128, 128, 256, 256])),
        "dim": arguments.get("lin_neurons", 256),
    }
    return fields, _RESNET


def _front_end(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind, features = _made(settings, "compute_features", where)
    if kind != "Fbank":
        raise InputError(f"{where}: compute_features: '{kind}' is not supported; supported: Fbank")
    rate = int(features.get("sample_rate", 16000))
    for key in ("deltas", "context"):
        _only(features, key, False, where)
    _only(features, "filter_shape", "triangular", where)
    norm, arguments = _made(settings, "mean_var_norm", where)
    expected = {"norm_type": "sentence", "std_norm": False, "mean_norm": True}
    given = {"norm_type": "global", "std_norm": True, "mean_norm": True, **arguments}
    if norm != "InputNormalization" or any(given[key] != value for key, value in expected.items()):
        raise InputError(f"{where}: mean_var_norm: not supported; supported: norm_type sentence with std_norm False")
    return {
        "name": "speechbrain",
        "sample_rate": rate,
        "bins": int(features.get("n_mels", 40)),
        "fft_size": int(features.get("n_fft", 400)),
        "low_hz": float(features.get("f_min", 0)),
        "high_hz": float(features.get("f_max") or rate / 2),
        "frame_length_ms": float(features.get("win_length", 25)),
        "frame_shift_ms": float(features.get("hop_length", 10)),
    }


def _mean(file: Path) -> np.ndarray | None:
    """The mean of the training embeddings. SpeechBrain subtracts it only with `normalize=True`."""
    if not file.is_file():
        return None
    content = read_checkpoint(file)
    mean = content.get("glob_mean") if isinstance(content, Mapping) else None
    if not isinstance(mean, Tensor) or mean.numel() < 2 or not bool(torch.isfinite(mean).all()):
        return None
    vector: np.ndarray = mean.double().flatten().numpy()
    return vector
