"""TitaNet of NeMo: a .nemo archive of model_config.yaml and model_weights.ckpt, read without unpacking it."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from spkver import archives
from spkver.errors import InputError, RunError
from spkver.interop.peers.files import read_checkpoint, read_yaml, tensors_in
from spkver.interop.peers.layout import Found, Layout, Rule

SUFFIX = ".nemo"
CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
# the defaults of their preprocessor for keys that the config omits
PREPROCESSOR: dict[str, Any] = {
    "sample_rate": 16000,
    "window_size": 0.02,
    "window_stride": 0.01,
    "n_window_size": None,
    "n_window_stride": None,
    "window": "hann",
    "normalize": "per_feature",
    "n_fft": None,
    "preemph": 0.97,
    "features": 64,
    "lowfreq": 0,
    "highfreq": None,
    "log": True,
    "log_zero_guard_type": "add",
    "log_zero_guard_value": 2**-24,
    "frame_splicing": 1,
    "exact_pad": False,
    "mag_power": 2.0,
    "mel_norm": "slaney",
}
FIXED = {
    "normalize": "per_feature",
    "log": True,
    "log_zero_guard_type": "add",
    "frame_splicing": 1,
    "exact_pad": False,
    "mag_power": 2.0,
    "mel_norm": "slaney",
}


class NeMo:
    """TitaNet in all sizes."""

    @staticmethod
    def recognises(source: Path) -> bool:
        """A .nemo file, or a folder with one."""
        return _file(source) is not None

    @staticmethod
    def read(source: Path) -> Found:
        """Read an archive. Raises InputError for other networks and settings of the features."""
        file = _file(source)
        if file is None:
            raise InputError(f"{source}: contains no {SUFFIX} file")
        config, tensors = _content(file)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if "decoder._pooling.attention_layer.0.conv_layer.weight" not in shapes:
            raise InputError(f"{file}: only TitaNet with attention pooling is supported")
        fields, rules = _network(shapes, config, file)
        return Found(
            file,
            "NeMo's TitaNet",
            _front_end(config, file),
            fields,
            tensors,
            Layout(tuple(rules)),
            dropped=r"^(preprocessor|decoder\.final|loss|spec_augmentation|eval_loss)\b",
        )


def _file(source: Path) -> Path | None:
    if source.is_dir():
        found = sorted(source.glob(f"*{SUFFIX}"))
        return found[0] if len(found) == 1 else None
    return source if source.name.endswith(SUFFIX) else None


def _content(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and tensors. Only the two members are read, into files of our own, so no name can point outside."""
    members: dict[str, bytes] = {}
    try:
        with archives.reading(file), tarfile.open(file) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name in (CONFIG, WEIGHTS) and member.isfile() and (content := archive.extractfile(member)):
                    members[name] = content.read()
    except RunError as error:
        raise InputError(f"{file}: not a {SUFFIX} archive, or damaged ({error.__cause__})") from error
    if missing := [name for name in (CONFIG, WEIGHTS) if name not in members]:
        raise InputError(f"{file}: the archive contains no {missing[0]}")
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in members.items():
            Path(scratch, name).write_bytes(data)
        try:
            weights = Path(scratch, WEIGHTS)
            return read_yaml(Path(scratch, CONFIG)), tensors_in(read_checkpoint(weights), weights)
        except InputError as error:
            raise InputError(str(error).replace(f"{scratch}/", f"{file}: ")) from error


def _network(
    shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any], file: Path
) -> tuple[dict[str, Any], list[Rule]]:
    """Our config and the names of the tensors. The sizes are those of the tensors."""
    encoder = config.get("encoder")
    stages = encoder.get("jasper", []) if isinstance(encoder, Mapping) else []
    for number, stage in enumerate(stages):
        for key in ("stride", "dilation"):
            if stage.get(key, [1]) not in ([1], 1):
                raise InputError(f"{file}: encoder.jasper.{number}.{key}: {stage[key]} is not supported; supported: 1")
        if stage.get("se_context_size", -1) not in (-1, None) and isinstance(stage["se_context_size"], int):
            raise InputError(f"{file}: encoder.jasper.{number}.se_context_size: only -1 is supported")
    start, blocks = "encoder.encoder", 0
    rules: list[Rule] = []
    kernels: list[int] = []
    repeats: list[int] = []
    while f"{start}.{blocks}.mconv.0.conv.weight" in shapes:
        there = f"{start}.{blocks}.mconv"
        kernels.append(shapes[f"{there}.0.conv.weight"][-1])
        repeat = 1
        while f"{there}.{5 * repeat}.conv.weight" in shapes:
            repeat += 1
        repeats.append(repeat)
        here = rf"^blocks\.{blocks}"
        for place in range(repeat):
            for layer, name in enumerate((".conv", ".conv", "")):
                rules.append((rf"{here}\.convolutions\.{4 * place + layer}\.", f"{there}.{5 * place + layer}{name}."))
        rules += [
            (rf"{here}\.gate\.", f"{there}.{5 * (repeat - 1) + 3}."),
            (rf"{here}\.shortcut\.0\.", f"{start}.{blocks}.res.0.0.conv."),
            (rf"{here}\.shortcut\.1\.", f"{start}.{blocks}.res.0.1."),
        ]
        blocks += 1
    if blocks < 2 or len(set(repeats[1:-1])) > 1:
        raise InputError(f"{file}: only TitaNet with equally many convolutions in all residual blocks is supported")
    channels = shapes[f"{start}.0.mconv.1.conv.weight"][0]
    gates = (shape for name, shape in shapes.items() if name.startswith(f"{start}.0.mconv.") and ".fc.0." in name)
    gate = next(gates, None)
    if gate is None:
        raise InputError(f"{file}: only TitaNet with squeeze and excitation is supported")
    dim, _, *_ = shapes["decoder.emb_layers.0.1.weight"]
    rules += [
        (r"^pooling\.attention\.0\.", "decoder._pooling.attention_layer.0.conv_layer."),
        (r"^pooling\.attention\.2\.", "decoder._pooling.attention_layer.0.bn."),
        (r"^pooling\.attention\.4\.", "decoder._pooling.attention_layer.2."),
        (r"^pooling_norm\.", "decoder.emb_layers.0.0."),
        (r"^linear\.", "decoder.emb_layers.0.1."),
    ]
    fields = {
        "name": "titanet",
        "channels": channels,
        "out": shapes[f"{start}.{blocks - 1}.mconv.1.conv.weight"][0],
        "kernels": kernels,
        "repeat": repeats[1] if blocks > 2 else 1,
        "reduction": channels // gate[0],
        "dim": dim,
        "pooling": {
            "name": "attentive_statistics",
            "hidden": shapes["decoder._pooling.attention_layer.0.conv_layer.weight"][0],
            "context": True,
            "activation": "relu_norm_tanh",
            "floor": 1e-10,
        },
    }
    return fields, rules


def _front_end(config: Mapping[str, Any], file: Path) -> dict[str, Any]:
    given = {**PREPROCESSOR, **(config.get("preprocessor") or {})}
    for key, value in FIXED.items():
        if given[key] != value:
            raise InputError(f"{file}: preprocessor.{key}: {given[key]} is not supported; supported: {value}")
    rate = int(given["sample_rate"])
    length = int(given["n_window_size"] or given["window_size"] * rate)
    shift = int(given["n_window_stride"] or given["window_stride"] * rate)
    return {
        "name": "nemo",
        "sample_rate": rate,
        "bins": int(given["features"]),
        "fft_size": int(given["n_fft"] or 1 << (length - 1).bit_length()),
        "window": given["window"],
        "frame_length_ms": 1000 * length / rate,
        "frame_shift_ms": 1000 * shift / rate,
        "low_hz": float(given["lowfreq"]),
        "high_hz": float(given["highfreq"] or rate / 2),
        "preemphasis": float(given["preemph"] or 0),
        "floor": float(given["log_zero_guard_value"]),
    }
