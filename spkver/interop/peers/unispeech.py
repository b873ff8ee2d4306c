"""UniSpeech's speaker verification models: ECAPA-TDNN on the layers of WavLM, as in `wavlm_large_finetune.pth`.

The speech-synthesis field measures the similarity of voices with them. The file has the tensors of the fine-tuned WavLM
by fairseq's names, and no config: sizes are read from the tensors, and the rest is what base and large models have in
common.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from spkver.errors import InputError
from spkver.interop.peers.files import read_checkpoint, tensors_in
from spkver.interop.peers.layout import Found, Layout, Rule

WAVLM = "feature_extract.model."
STRIDES = (5, 2, 2, 2, 2, 2, 2)
UNUSED = (
    r"^(loss_calculator|instance_norm)\.|^feature_extract\.(?!model\.)|\.(mask_emb|label_embs_concat)$|\.final_proj\."
)
NAMES: tuple[Rule, ...] = (
    (r"^weights$", "feature_weight"),
    (r"^network\.pooling\.attention\.0\.", "pooling.linear1."),
    (r"^network\.pooling\.attention\.2\.", "pooling.linear2."),
    (r"^encoder\.", WAVLM),
    (r"(\.conv_layers\.\d+)\.conv\.", r"\1.0."),
    (r"\.feature_projection\.projection\.", ".post_extract_proj."),
    (r"\.feature_projection\.layer_norm\.", ".layer_norm."),
    (r"\.pos_conv_embed\.conv\.parametrizations\.weight\.original0$", ".pos_conv.0.weight_g"),
    (r"\.pos_conv_embed\.conv\.parametrizations\.weight\.original1$", ".pos_conv.0.weight_v"),
    (r"\.pos_conv_embed\.conv\.", ".pos_conv.0."),
    (r"\.attention\.gru_rel_pos_const$", ".self_attn.grep_a"),
    (r"\.attention\.gru_rel_pos_linear\.", ".self_attn.grep_linear."),
    (r"\.attention\.rel_attn_embed\.", ".self_attn.relative_attention_bias."),
    (r"\.attention\.", ".self_attn."),
    (r"(\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
    (r"\.feed_forward\.output_dense\.", ".fc2."),
    (r"^network\.first\.", "layer1."),
    (r"^network\.blocks\.(\d)\.", lambda at: f"layer{int(at[1]) + 2}."),
    (r"^(layer\d)\.tdnn([12])\.", r"\1.Conv1dReluBn\2."),
    (r"^(layer\d)\.res2\.blocks\.(\d+)\.conv\.", r"\1.Res2Conv1dReluBn.convs.\2."),
    (r"^(layer\d)\.res2\.blocks\.(\d+)\.norm\.", r"\1.Res2Conv1dReluBn.bns.\2."),
    (r"^(layer\d)\.se\.", r"\1.SE_Connect."),
    (r"^(layer\d(?:\.\w+)?)\.norm\.", r"\1.bn."),
    (r"^network\.aggregate\.", "conv."),
    (r"^network\.pooling_norm\.", "bn."),
    (r"^network\.linear\.", "linear."),
)


class UniSpeech:
    """ECAPA-TDNN on WavLM base+ or large."""

    @staticmethod
    def recognises(source: Path) -> bool:
        """A file with weights of layers, and tensors of an encoder by fairseq's names."""
        try:
            tensors = tensors_in(read_checkpoint(source), source) if source.is_file() else {}
        except InputError:
            return False
        return "feature_weight" in tensors and any(name.startswith(WAVLM) for name in tensors)

    @staticmethod
    def read(source: Path) -> Found:
        """Read a file. Raises InputError for other encoders than WavLM."""
        tensors = tensors_in(read_checkpoint(source), source)
        if f"{WAVLM}encoder.layers.0.self_attn.grep_a" not in tensors:
            raise InputError(f"{source}: only models on WavLM are supported, with the encoder in the file")
        large = f"{WAVLM}feature_extractor.conv_layers.0.2.1.weight" in tensors
        # a layer norm after each convolution, or one group norm after the first
        norm = (r"(\.conv_layers\.\d+)\.layer_norm\.", r"\1.2.1." if large else r"\1.2.")
        return Found(
            source,
            f"UniSpeech's ECAPA-TDNN on WavLM {'large' if large else 'base'}",
            {"name": "waveform", "bins": 1, "normalise": "mean_variance" if large else "none"},
            {
                "name": "ssl",
                "encoder": json.dumps(_wavlm(tensors, large)),
                "frame_norm": True,
                "network": _ecapa(tensors),
            },
            tensors,
            Layout((norm, *NAMES)),
            dropped=UNUSED,
        )


def _wavlm(tensors: Mapping[str, Tensor], large: bool) -> dict[str, Any]:
    """The configuration of WavLM in transformers."""

    def shape(name: str) -> list[int]:
        return list(tensors[WAVLM + name].shape)

    convolutions = [shape(f"feature_extractor.conv_layers.{number}.0.weight") for number in range(len(STRIDES))]
    position = shape("encoder.pos_conv.0.weight_v")
    buckets, heads = shape("encoder.layers.0.self_attn.relative_attention_bias.weight")
    layers = {
        int(found[1]) for name in tensors if (found := re.match(rf"{re.escape(WAVLM)}encoder\.layers\.(\d+)\.", name))
    }
    return {
        "model_type": "wavlm",
        "hidden_size": position[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads,
        "intermediate_size": shape("encoder.layers.0.fc1.weight")[0],
        "conv_dim": [convolution[0] for convolution in convolutions],
        "conv_kernel": [convolution[2] for convolution in convolutions],
        "conv_stride": list(STRIDES),
        "conv_bias": False,
        "feat_extract_norm": "layer" if large else "group",
        "do_stable_layer_norm": large,
        "num_conv_pos_embeddings": position[2],
        "num_conv_pos_embedding_groups": position[0] // position[1],
        "num_buckets": buckets,
        "max_bucket_distance": 800,
        "mask_time_prob": 0.0,
    }


def _ecapa(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    channels, part = (
        tensors[f"layer2.{name}.weight"].shape[0] for name in ("Conv1dReluBn1.conv", "Res2Conv1dReluBn.convs.0")
    )
    return {
        "name": "ecapa_tdnn",
        "channels": channels,
        "aggregated": tensors["conv.weight"].shape[0],
        "scale": channels // part,
        "se_hidden": tensors["layer2.SE_Connect.linear1.weight"].shape[0],
        "dim": tensors["linear.weight"].shape[0],
        "sum_inputs": False,
        "embedding_norm": False,
        "goes_by": "last",
        "pooling": {
            "name": "attentive_statistics",
            "hidden": tensors["pooling.linear1.weight"].shape[0],
            "floor": 1e-9,
        },
    }
