"""WeSpeaker's model folders: avg_model.pt and config.yaml (`model`, `model_args`, `dataset_args`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spkver.errors import InputError, nearest
from spkver.interop.peers import networks, redimnet2
from spkver.interop.peers.files import keys_of, read_checkpoint, read_yaml, tensors_in
from spkver.interop.peers.layout import Found, Layout
from spkver.interop.peers.redimnet import spectral
from spkver.models.variants import REDIMNET, REPVGG, SIMAM_POOLING, repvgg

WEIGHTS = ("avg_model.pt", "final_model.pt", "model.pt")
CONFIG = "config.yaml"
# WeSpeaker also publishes 3D-Speaker's models of these networks in its own format. In folders of models that it trained
# itself, the config names the front end.
OF_3D_SPEAKER = ("CAMPPlus", "ERes2Net")
FRONT_ENDS = {"wespeaker": "wespeaker", "3dspeaker": "wespeaker"}
_Stages = tuple[tuple[int, int, int, float, int], ...]
TFMEL: dict[str, Any] = {  # the defaults of its constructor
    **{"n_mels": 80, "n_fft": 512, "win_length": 400, "hop_length": 160, "f_min": 20, "f_max": 7600},
    **{"norm_signal": False, "do_preemph": True, "eps": 1e-8},
}
FBANK_ARGUMENTS = ("num_mel_bins", "frame_length", "frame_shift", "dither")

# their pooling names and our configs; their standard deviation divides by frames - 1
POOLINGS: dict[str, dict[str, Any]] = {
    "TAP": {"name": "mean"},
    "TSTP": {"name": "statistics", "unbiased": True},
    "TSDP": {"name": "statistics", "unbiased": True, "mean": False},
    "ASTP": {"name": "attentive_statistics", "unbiased": True},
    "MHASTP": {"name": "multi_head", "heads": 2, "hidden": 64, "by_head": True},
    "MQMHASTP": {"name": "multi_query_multi_head", "heads": 8, "queries": 2, "hidden": 64, "by_head": True},
    "XI": {"name": "xi_vector"},
}
HEAD = re.compile(
    r"pool\.(n_query\.(?P<query>\d+)\.)?heads_att_trans\.(?P<head>\d+)\.att_(?P<layer>\d)\.(?P<kind>weight|bias)"
)
POOL = (
    (r"^pooling\.attention\.0\.", "pool.linear1."),
    (r"^pooling\.attention\.2\.", "pool.linear2."),
    (r"^pooling\.precision\.3\.", "pool.lin2."),
    (r"^pooling\.precision\.", "pool.lin1_relu_bn."),
    (r"^pooling\.", "pool."),
)


class Network(NamedTuple):
    """One of their networks: our config, the layout, their default pooling, and our names for their arguments."""

    fields: dict[str, Any]
    layout: Layout
    pooling: str | None = "TSTP"
    arguments: Mapping[str, str] = {}
    context: bool = False  # global context in the attentive pooling
    derived: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda arguments: {}  # of several arguments
    sources: tuple[str, ...] = ()  # the arguments that `derived` uses
    front_end: str = "fbank"  # their `dataset_args.frontend`


_ECAPA = Layout(
    names=(
        (r"^first\.", "layer1."),
        (r"^blocks\.(\d)\.", lambda at: f"layer{int(at[1]) + 2}.se_res2block."),
        (r"\.res2\.blocks\.(\d)\.conv\.", r".1.convs.\1."),
        (r"\.res2\.blocks\.(\d)\.norm\.", r".1.bns.\1."),
        (r"\.tdnn1\.", ".0."),
        (r"\.tdnn2\.", ".2."),
        (r"\.se\.", ".3."),
        (r"\.norm\.", ".bn."),
        (r"^norm\.", "bn2."),
        (r"^aggregate\.", "conv."),
        (r"^pooling_norm\.", "bn."),
    )
)
_SIMAM = Layout(
    names=((r"^(conv1|bn1|layer\d)\.", r"front.\1."), (r"\.shortcut\.", ".downsample."), ("^seg_1", "bottleneck"))
)
_SECOND = {"two_emb_layer": "layers_after_pooling"}


_REPVGG = Layout(
    names=(
        (r"^seg\.", "seg."),
        (r"\.convolution\.", ".rbr_reparam."),
        (r"\.first\.", ".rbr_dense."),
        (r"\.identity\.", ".rbr_identity."),
    )
)


def _later(at: Any) -> str:
    """In fused stages the first convolution has another name, and the numbers of the others are one lower."""
    return f"{at[1]}.{at[2][:-1]}2_1." if at[3] == "0" else f"{at[1]}.{at[2]}.{int(at[3]) - 1}."


_ERES2NET = networks.ERES2NET.plus((r"^(layer[34]\.\d+)\.(convs|bns)\.(\d)\.", _later))


def _xvector(pooling: str) -> Network:
    fields = {"name": "xvector", "layers_after_pooling": 2, "between": "relu_norm", "embedding_norm": False}
    return Network(fields, networks.XVECTOR, pooling, {"hid_dim": "channels", "stats_dim": "pooled_channels"})


def _ecapa(channels: int, pooling: str, context: bool = False) -> Network:
    fields = {
        "name": "ecapa_tdnn",
        "channels": channels,
        "sum_inputs": False,
        "embedding_norm": False,
        "goes_by": "last",
    }
    return Network(fields, _ECAPA, pooling, {"emb_bn": "embedding_norm"}, context)


def _eres2net(**fields: int) -> Network:
    return Network({"name": "eres2net", **fields}, _ERES2NET, "TSTP", _SECOND)


def _simam(depth: int) -> Network:
    fields = {"name": "resnet", "depth": depth, "channels": 64, "attention": "simam", "pooling": SIMAM_POOLING}
    return Network(fields, _SIMAM, None, {"in_planes": "channels"})


def _repvgg(size: str, block: str = "", groups: int = 1) -> Network:
    second, theirs = ("dilated", "rbr_dense_dilation") if block else ("1x1", "rbr_1x1")
    layout = _REPVGG.plus((r"\.second\.", f".{theirs}."))

    def derived(arguments: Mapping[str, Any]) -> dict[str, Any]:
        gate = bool(arguments.get("use_se", size == "D2SE"))
        return {"branches": not arguments.get("deploy", False), "gate": gate}

    return Network(repvgg(size, groups, second=second), layout, derived=derived, sources=("deploy", "use_se"))


def _campplus(arguments: Mapping[str, Any]) -> dict[str, Any]:
    order = arguments.get("config_str", "batchnorm-relu")
    if order != "batchnorm-relu":
        raise InputError(f"model_args.config_str: {order} is not supported; supported: batchnorm-relu")
    return {"bottleneck": int(arguments.get("bn_size", 4)) * int(arguments.get("growth_rate", 32))}


def _redimnet(size: str) -> Network:
    channels, blocks, group, stages, _, _ = REDIMNET[size]
    sums = [f"backbone.inputs_weights.{number}" for number in range(len(stages) + 1)]
    layout = networks.redimnet(stages, first=0, sums=sums, rules=((r"^linear\.", "seg_1."),))
    fields = {
        "name": "redimnet",
        "channels": channels,
        "blocks": blocks,
        "group": group,
        "stages": stages,
        "pooling_norm": False,
    }
    return Network(fields, layout, "ASTP", {}, context=True)


def _redimnet2(channels: int, out: int, stages: _Stages, plane_out: bool = False) -> Network:
    fields = {
        "name": "redimnet2",
        "channels": channels,
        "blocks": "resnet",
        "group": 1,
        "stages": stages,
        "out": out,
        "plane_out": plane_out,
    }
    layout = redimnet2.layout(stages, both=False)
    # a weight of the first sum, whose single input makes it 1; of the default 72 bins
    weight = {"backbone.stage0.0.w": torch.zeros(1, 1, 72 * channels, 1)}
    return Network(fields, replace(layout, constants=weight), "ASTP", {}, context=True, front_end="tfmel")


def _stages(counts: Sequence[int], multiples: Sequence[float], divisors: Sequence[int], wide: int = 2) -> _Stages:
    return tuple(zip((1, 2, 1, wide, 1, 2), (1, 1, 2, 1, 2, 1), counts, multiples, divisors))


_COUNTS = (2, 3, 4, 5, 4, 3)
# their sizes have other widths than the releases of ReDimNet2
REDIMNET2: dict[str, Network] = {
    "B0": _redimnet2(12, 64, _stages(_COUNTS, (2, 1, 1, 1, 1, 1), (36, 36, 36, 36, 18, 18))),
    "B1": _redimnet2(16, 64, _stages(_COUNTS, (2, 1, 1, 1, 1, 1), (32, 32, 32, 32, 16, 16))),
    "B2": _redimnet2(20, 64, _stages(_COUNTS, (2, 1, 1, 1, 1, 1), (40, 30, 30, 20, 20, 10), wide=3)),
    "B3": _redimnet2(24, 64, _stages(_COUNTS, (2, 1, 1, 1, 1, 1), (36, 36, 36, 36, 18, 18))),
    "B4": _redimnet2(32, 0, _stages(_COUNTS, (4, 3, 2, 1, 1, 1), (24,) * 6)),
    "B5": _redimnet2(48, 256, _stages(_COUNTS, (4, 3, 2, 1, 1, 1), (48, 48, 48, 48, 32, 32))),
    "B6": _redimnet2(64, 224, _stages((3, 4, 5, 5, 4, 3), (3, 2, 2, 1, 0.75, 0.5), (64, 64, 48, 48, 32, 24)), True),
}

NETWORKS: dict[str, Network] = {
    "XVEC": _xvector("TSTP"),
    "XI_VEC_XVEC": _xvector("XI"),
    **{f"ECAPA_TDNN_c{size}": _ecapa(size, "ASTP") for size in (512, 1024)},
    **{f"ECAPA_TDNN_GLOB_c{size}": _ecapa(size, "ASTP", context=True) for size in (512, 1024)},
    **{f"XI_VEC_ECAPA_TDNN_c{size}": _ecapa(size, "XI") for size in (512, 1024)},
    **{
        f"ResNet{depth}": Network({"name": "resnet", "depth": depth}, networks.RESNET, "TSTP", _SECOND)
        for depth in (18, 34, 50, 101, 152, 221, 293)
    },
    **{f"SimAM_ResNet{depth}_ASP": _simam(depth) for depth in (34, 100)},
    "CAMPPlus": Network(
        {"name": "campplus"},
        networks.CAMPPLUS,
        arguments={"growth_rate": "growth", "init_channels": "channels"},
        derived=_campplus,
        sources=("bn_size", "growth_rate", "config_str"),
    ),
    **{
        f"Gemini_DF_ResNet{depth}": Network({"name": "df_resnet", "depth": depth}, networks.RESNET, "TSTP", _SECOND)
        for depth in (60, 114, 183, 237)
    },
    **{f"REPVGG_{size}": _repvgg(size) for size in REPVGG},
    **{f"REPVGG_{size}g{groups}": _repvgg(size, groups=groups) for size in ("B1", "B2", "B3") for groups in (2, 4)},
    "REPVGG_D2SE": _repvgg("D2SE", groups=4),
    "REPVGG_TINY_RSBB_A0": _repvgg("TINY_A0", "RSBB"),
    **{f"REPVGG_RSBB_{size}": _repvgg(size, "RSBB") for size in ("A0", "A2", "B0")},
    "ERes2Net34_Base": _eres2net(),
    "ERes2Net34_Large": _eres2net(channels=64),
    "ERes2Net34_aug": _eres2net(channels=64, base_width=24, scale=3, expansion=4),
    "Res2Net34_Base": Network({"name": "res2net"}, networks.RESNET, "TSTP", _SECOND),
    "Res2Net34_Large": Network({"name": "res2net", "channels": 64}, networks.RESNET, "TSTP", _SECOND),
    **{f"ReDimNet{size.upper()}": _redimnet(size) for size in REDIMNET},
    **{f"ReDimNet2{size}": network for size, network in REDIMNET2.items()},
}


class WeSpeaker:
    """A folder with config and weights, or a weights file with the config in the same folder."""

    @staticmethod
    def recognises(source: Path) -> bool:
        """A config.yaml with `model_args` next to a checkpoint."""
        config = _config(source)
        if not config.is_file() or (source.is_dir() and _weights(source) is None):
            return False
        try:
            return "model_args" in read_yaml(config)
        except InputError:
            return False

    @staticmethod
    def read(source: Path) -> Found:
        """Read a folder. Raises InputError for unsupported networks and front ends."""
        config = read_yaml(_config(source))
        weights = _weights(source) if source.is_dir() else source
        if weights is None:
            raise InputError(f"{source}: contains none of {', '.join(WEIGHTS)}")
        where = str(_config(source))
        name, arguments = str(config.get("model")), config.get("model_args")
        if name not in NETWORKS:
            raise InputError(f"{where}: the network '{name}' is not supported{nearest(name, NETWORKS)}")
        if not isinstance(arguments, Mapping):
            raise InputError(f"{where}: model_args is missing")
        network = NETWORKS[name]
        tensors = joined_heads(tensors_in(read_checkpoint(weights), weights))
        dataset = keys_of(config, "dataset_args", where)
        trained_here = "fbank_args" in dataset or any(key.startswith("projection.") for key in tensors)
        return Found(
            weights,
            f"WeSpeaker's {name}",
            front_end(dataset, arguments, where, network.front_end),
            fields(network, arguments, where),
            tensors,
            layout(network),
            # CAM++ registers its pooling twice, the second time in a sequence
            dropped=r"^projection\.|^frontend\.|^xvector\.stats\.",
            front_ends={} if trained_here or not name.startswith(OF_3D_SPEAKER) else FRONT_ENDS,
        )


def _config(source: Path) -> Path:
    """The config: in a folder, next to a checkpoint, or, in an experiment, next to the folder `models` with it."""
    places = [source] if source.is_dir() else [source.parent, source.parent.parent]
    return next((place / CONFIG for place in places if (place / CONFIG).is_file()), places[0] / CONFIG)


def _weights(folder: Path) -> Path | None:
    places = [folder / name for name in WEIGHTS] + [folder / "models" / name for name in WEIGHTS]
    return next((place for place in places if place.is_file()), None)


def layout(network: Network) -> Layout:
    """The layout of a network and its pooling."""
    return network.layout.plus(*POOL) if network.pooling else network.layout


def joined_heads(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with those of all heads and queries of their multi-head poolings joined, as ours are."""
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[tuple[int, int], Tensor]] = {}
    for name, value in tensors.items():
        if match := HEAD.fullmatch(name):
            place = int(match["head"]), int(match["query"] or 0)
            parts.setdefault(f"pool.linear{int(match['layer']) + 1}.{match['kind']}", {})[place] = value
        else:
            found[name] = value
    return found | {name: torch.cat([part for _, part in sorted(heads.items())]) for name, heads in parts.items()}


def split_heads(tensors: Mapping[str, Tensor], pooling: Mapping[str, Any]) -> dict[str, Tensor]:
    """The inverse of `joined_heads`, for our config of the pooling."""
    if pooling["name"] not in ("multi_head", "multi_query_multi_head"):
        return dict(tensors)
    heads, queries = pooling["heads"], pooling.get("queries", 0)
    found = {}
    for name, value in tensors.items():
        match = re.fullmatch(r"pool\.linear(\d)\.(\w+)", name)
        if match is None:
            found[name] = value
            continue
        for number, part in enumerate(value.chunk(heads * max(queries, 1))):
            head, query = divmod(number, max(queries, 1))
            start = f"pool.n_query.{query}" if queries else "pool"
            found[f"{start}.heads_att_trans.{head}.att_{int(match[1]) - 1}.{match[2]}"] = part.contiguous()
    return found


def fields(network: Network, arguments: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Our config of their network with their arguments."""
    found = dict(network.fields)
    if network.pooling is not None:
        pooling = str(arguments.get("pooling_func", network.pooling))
        if pooling not in POOLINGS:
            raise InputError(f"{where}: the pooling '{pooling}' is not supported{nearest(pooling, POOLINGS)}")
        found["pooling"] = dict(POOLINGS[pooling])
        if network.context and pooling == "ASTP":
            found["pooling"]["context"] = True
    if "embed_dim" not in arguments:
        raise InputError(f"{where}: model_args.embed_dim is missing")
    found["dim"] = arguments["embed_dim"]
    found |= network.derived(arguments)
    known = {"embed_dim", "feat_dim", "acoustic_dim", "pooling_func", "dropout", *network.arguments, *network.sources}
    for key, value in arguments.items():
        if key in network.arguments:
            found[network.arguments[key]] = 1 + bool(value) if key == "two_emb_layer" else value
        elif key not in known and value:  # an unknown argument that is off makes no difference
            raise InputError(f"{where}: model_args.{key}: {value} is not supported")
    return found


def front_end(
    dataset: Mapping[str, Any], arguments: Mapping[str, Any], where: str, wanted: str = "fbank"
) -> dict[str, Any]:
    """Our front end config for their dataset_args. Raises InputError for unsupported settings.

    wanted: the front end that the network takes
    """
    kind = str(dataset.get("frontend", "fbank"))
    if kind != wanted:
        raise InputError(f"{where}: dataset_args.frontend: '{kind}' is not supported; supported: {wanted}")
    if kind == "tfmel":
        return _tfmel(dataset, where)
    fbank = keys_of(dataset, "fbank_args", where)
    if other := [key for key in fbank if key not in FBANK_ARGUMENTS]:
        raise InputError(f"{where}: fbank_args.{other[0]} is not supported")
    cmvn = keys_of(dataset, "cmvn_args", where)
    if cmvn.get("norm_var"):
        raise InputError(f"{where}: cmvn_args.norm_var: variance normalisation is not supported")
    mean = bool(dataset.get("cmvn", True)) and bool(cmvn.get("norm_mean", True))
    rate = int(dataset.get("resample_rate", 16000))
    return {
        "name": "wespeaker",
        "sample_rate": rate,
        "high_hz": rate / 2,
        "bins": int(arguments.get("feat_dim", arguments.get("acoustic_dim", fbank.get("num_mel_bins", 80)))),
        "frame_length_ms": float(fbank.get("frame_length", 25)),
        "frame_shift_ms": float(fbank.get("frame_shift", 10)),
        "dither": float(fbank.get("dither", 1.0)),
        "normalise": "mean" if mean else "none",
    }


def _tfmel(dataset: Mapping[str, Any], where: str) -> dict[str, Any]:
    if dataset.get("cmvn", True):
        raise InputError(f"{where}: dataset_args.cmvn with tfmel, a mean over frequency, is not supported")
    given = {**TFMEL, **keys_of(dataset, "tfmel_args", where)}
    rate = int(given.get("sample_rate", dataset.get("resample_rate", 16000)))
    config = {"F": given["n_mels"], "hop_length": given["hop_length"]}
    return {"name": "tf_mel", **spectral(config, {**given, "sample_rate": rate}), "floor": given["eps"]}
