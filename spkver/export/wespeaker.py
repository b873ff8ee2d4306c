"""A WeSpeaker model folder: avg_model.pt and config.yaml, for WeSpeaker and `spkver import`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import torch
import yaml
from pydantic import Field

from spkver.config import Component, Config, validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.files import StrPath, atomic_directory
from spkver.interop.peers import wespeaker
from spkver.interop.peers.layout import to_theirs
from spkver.interop.peers.wespeaker import CONFIG, NETWORKS, WEIGHTS, Network
from spkver.storage import located

Differences = list[str]


class WeSpeakerConfig(Component):
    """Options of the WeSpeaker export."""

    name: Literal["wespeaker"] = "wespeaker"
    any_front_end: bool = Field(False, description="write even if WeSpeaker computes other features")


class WeSpeakerExport:
    """Writes a network that WeSpeaker has with identical settings; nothing is approximated."""

    Config = WeSpeakerConfig

    def __init__(self, config: WeSpeakerConfig) -> None:
        self.config = config

    def write(self, encoder: Encoder, path: StrPath) -> list[str]:
        """Write the folder. Raises InputError naming the differences to the nearest network or to its features."""
        if located(path).exists():
            raise InputError(f"{path}: exists already; remove it or choose another path")
        name, arguments, different = _nearest(encoder)
        if different:
            raise InputError(
                f"{path}: WeSpeaker has no network like this {encoder.config.model.name}; the nearest, {name}, differs "
                f"in {'; '.join(different)}"
            )
        wanted = NETWORKS[name].front_end
        dataset = _tfmel(encoder) if wanted == "tfmel" else _dataset(encoder)
        found = _front_end(dataset, arguments, wanted)
        other = _differences(encoder.config.front_end.model_dump(), found, "front_end.", {"dither"})
        if other and not self.config.any_front_end:
            raise InputError(
                f"{path}: WeSpeaker would compute other features: {'; '.join(other)}; train with `front_end: "
                "wespeaker`, or use --any-front-end and compute the features of the model yourself"
            )
        tensors = to_theirs(encoder.network.state_dict(), wespeaker.layout(NETWORKS[name]))
        if NETWORKS[name].pooling is not None:
            tensors = wespeaker.split_heads(tensors, encoder.config.model.model_dump()["pooling"])
        config = {"model": name, "model_args": arguments, "dataset_args": dataset}
        with atomic_directory(path, holds=CONFIG) as folder:
            with (folder / WEIGHTS[0]).open("wb") as stream:  # given a path, torch does not report a full disk
                torch.save(tensors, stream)
            (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        said = [f"{path}: WeSpeaker's {name}, {len(tensors)} tensors"]
        return [*said, f"warning: WeSpeaker computes other features: {'; '.join(other)}"] if other else said


def _nearest(encoder: Encoder) -> tuple[str, dict[str, Any], Differences]:
    """The WeSpeaker network with the fewest differences: name, arguments, differences."""
    own = encoder.config.model.model_dump()
    best: tuple[str, dict[str, Any], Differences] | None = None
    for name, network in NETWORKS.items():
        if network.fields["name"] != own["name"]:
            continue
        for arguments in _arguments(encoder, network):
            fields = wespeaker.fields(network, arguments, name)
            theirs = validate(EncoderConfig, {"model": fields}).model.model_dump()
            different = _differences(own, theirs)
            if best is None or len(different) < len(best[2]):
                best = name, arguments, different
    if best is None:
        known = ", ".join(sorted({network.fields["name"] for network in NETWORKS.values()}))
        raise InputError(f"WeSpeaker has no network like {own['name']}; it has {known}")
    return best


def _arguments(encoder: Encoder, network: Network) -> Iterator[dict[str, Any]]:
    """Candidate arguments of a WeSpeaker network, one set per pooling."""
    model = dict(encoder.config.model)
    bins = "feat_dim" if network.pooling else "acoustic_dim"
    arguments: dict[str, Any] = {bins: encoder.config.front_end.bins, "embed_dim": encoder.dim}
    for theirs, ours in network.arguments.items():
        value = model[ours]
        arguments[theirs] = value == 2 if theirs == "two_emb_layer" else value
    if network.pooling is None:
        yield arguments
        return
    for pooling in (network.pooling, *wespeaker.POOLINGS):
        yield {**arguments, "pooling_func": pooling}


def _dataset(encoder: Encoder) -> dict[str, Any]:
    front_end = dict(encoder.config.front_end)
    fbank = {
        "num_mel_bins": front_end["bins"],
        "frame_shift": _whole(front_end["frame_shift_ms"]),
        "frame_length": _whole(front_end["frame_length_ms"]),
        "dither": front_end.get("dither", 0.0),
    }
    return {
        "fbank_args": fbank,
        "resample_rate": front_end["sample_rate"],
        "cmvn": front_end["normalise"] != "none",
        "frontend": "fbank",
    }


def _tfmel(encoder: Encoder) -> dict[str, Any]:
    front_end = dict(encoder.config.front_end)
    rate = front_end["sample_rate"]
    arguments = {
        "n_mels": front_end["bins"],
        "n_fft": front_end.get("fft_size", 512),
        "win_length": round(front_end["frame_length_ms"] * rate / 1000),
        "hop_length": round(front_end["frame_shift_ms"] * rate / 1000),
        "f_min": front_end["low_hz"],
        "f_max": front_end["high_hz"],
        "do_preemph": front_end["preemphasis"] > 0,
        "norm_signal": front_end.get("unit_variance", True),
        "eps": front_end.get("floor", 1e-8),
    }
    return {"frontend": "tfmel", "tfmel_args": arguments, "cmvn": False, "resample_rate": rate}


def _whole(number: float) -> float | int:
    return int(number) if number == int(number) else number


def _front_end(dataset: Mapping[str, Any], arguments: Mapping[str, Any], wanted: str) -> dict[str, Any]:
    found = wespeaker.front_end(dataset, arguments, "config", wanted)
    config: Config = validate(EncoderConfig, {"front_end": found}).front_end
    return config.model_dump()


def _differences(
    own: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "", free: Collection[str] = ()
) -> Differences:
    """`field: ours, theirs is ...` for each field that differs."""
    found = []
    for key in [*own, *(key for key in theirs if key not in own)]:
        here, there = own.get(key), theirs.get(key)
        if key in free or here == there:
            continue
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            found += _differences(here, there, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}: {here}, theirs is {there}")
    return found
