"""Folders of transformers with an x-vector head (WavLMForXVector, Wav2Vec2ForXVector): config.json and weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spkver.errors import InputError
from spkver.files import read_json
from spkver.interop.peers.files import read_checkpoint, tensors_in
from spkver.interop.peers.layout import Found, Layout, Rule

CONFIG, FEATURES = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
KINDS = ("wavlm", "wav2vec2")
OLD_NORM = {"original0": "weight_g", "original1": "weight_v"}  # names of the weight norm before torch 2.0


class Transformers:
    """WavLM and wav2vec 2.0 with the x-vector head."""

    @staticmethod
    def recognises(source: Path) -> bool:
        """A folder with config.json, whose architecture ends with ForXVector."""
        try:
            config = read_json(source / CONFIG) if (source / CONFIG).is_file() else None
        except InputError:
            return False
        return isinstance(config, Mapping) and _architecture(config).endswith("ForXVector")

    @staticmethod
    def read(source: Path) -> Found:
        """Read a folder. Raises InputError for other encoders and without weights."""
        config = read_json(source / CONFIG) if (source / CONFIG).is_file() else {}
        kind = config.get("model_type") if isinstance(config, Mapping) else None
        if kind not in KINDS or not _architecture(config).endswith("ForXVector"):
            raise InputError(f"{source / CONFIG}: only the x-vector heads of {', '.join(KINDS)} are supported")
        file = next((source / name for name in WEIGHTS if (source / name).is_file()), None)
        if file is None:
            raise InputError(f"{source}: contains none of {', '.join(WEIGHTS)}")
        if config.get("add_adapter"):
            raise InputError(f"{source / CONFIG}: add_adapter is not supported")
        channels, kernels = config["tdnn_dim"], config["tdnn_kernel"]
        tensors = _as_convolutions(tensors_in(read_checkpoint(file), file), kernels)
        if not config.get("use_weighted_layer_sum", False):
            # the last layer alone: a softmax of 1 for it, and of 0 for the others
            tensors["layer_weights"] = torch.full((config["num_hidden_layers"] + 1,), -1e4)
            tensors["layer_weights"][-1] = 0
        return Found(
            file,
            f"transformers' {_architecture(config)}",
            {"name": "waveform", "bins": 1, "normalise": "mean_variance" if _normalised(source, config) else "none"},
            {
                "name": "ssl",
                "encoder": json.dumps(dict(config)),
                "network": {
                    "name": "tdnn_head",
                    "channels": channels,
                    "kernels": kernels,
                    "dilations": config["tdnn_dilation"],
                    "dim": config["xvector_output_dim"],
                },
            },
            tensors,
            Layout(tuple(_names(kind, tensors))),
            dropped=r"^(classifier|objective)\.",
        )


def _architecture(config: Mapping[str, Any]) -> str:
    return str((config.get("architectures") or [""])[0])


def _names(kind: str, tensors: Mapping[str, Tensor]) -> list[Rule]:
    names: list[Rule] = [
        (r"^encoder\.", f"{kind}."),
        (r"^weights$", "layer_weights"),
        (r"^network\.projector\.", "projector."),
        (r"^network\.layers\.(\d+)\.", lambda at: f"tdnn.{int(at[1]) // 2}.kernel."),
        (r"^network\.linear\.", "feature_extractor."),
    ]
    if any(name.endswith("weight_g") for name in tensors):
        names += [(rf"\.parametrizations\.weight\.{new}$", f".{old}") for new, old in OLD_NORM.items()]
    return names


def _as_convolutions(tensors: dict[str, Tensor], kernels: list[int]) -> dict[str, Tensor]:
    """Their time-delay layers are linear layers of several frames side by side."""
    for number, kernel in enumerate(kernels):
        name = f"tdnn.{number}.kernel.weight"
        if name in tensors and tensors[name].dim() == 2 and tensors[name].shape[1] % kernel == 0:
            tensors[name] = tensors[name].unflatten(1, (kernel, -1)).transpose(1, 2).contiguous()
    return tensors


def _normalised(source: Path, config: Mapping[str, Any]) -> bool:
    """Whether the waveform is normalised; the large encoders need it."""
    if (source / FEATURES).is_file():
        return bool(read_json(source / FEATURES).get("do_normalize", False))
    return config.get("feat_extract_norm") == "layer"
