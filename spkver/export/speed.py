"""Size and speed of networks in the runtimes that a model can be used in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from spkver.encoder import pick_device
from spkver.errors import InputError
from spkver.export.onnx import in_onnxruntime
from spkver.models import table
from spkver.models.variants import VARIANTS
from spkver.progress import bar

RUNTIMES: dict[str, Callable[[Any, Any], Callable[[Any], Any]]] = {
    "eager": lambda network, features: network,
    "compiled": lambda network, features: torch.compile(network),
    "onnxruntime": in_onnxruntime,
    "onnxruntime-int8": lambda network, features: in_onnxruntime(network, features, "int8"),
}
"""By name: a function (network, example features) that returns the network as a callable in this runtime"""


def networks_table(
    names: Sequence[str] = (),
    *,
    seconds: float = 2.0,
    runtimes: Sequence[str] = ("eager",),
    device: str = "auto",
    batch: int | None = None,
) -> list[list[str]]:
    """A table of networks: parameters and their published number, multiply-adds, embeddings per second.

    names: values of the config key `model`; by default all published sizes
    seconds: length of the utterances; runtimes: names of RUNTIMES to measure the speed in, none to count only
    device: cpu, cuda or auto; batch: utterances at a time, by default 1 on a CPU and 128 elsewhere
    Raises InputError for an unknown network and if a runtime does not run on the device.
    """
    names = list(names) or list(VARIANTS)
    for name in names:
        table.build(name, "meta")  # reports a wrong name before the measurements
    head = ["network", "dim", "parameters M", "published M", "by", f"multiply-adds G ({seconds:g} s)"]
    where = pick_device(device) if runtimes else torch.device("meta")
    if where.type != "cpu" and any(runtime.startswith("onnxruntime") for runtime in runtimes):
        raise InputError("onnxruntime runs on the CPU only: add --device cpu")
    batch = batch or (1 if where.type == "cpu" else 128)
    place = f"CPU, threads: {table.threads()}" if where.type == "cpu" else where.type
    head += [f"embeddings/s ({place}, {runtime}, {batch} at a time)" for runtime in runtimes]
    rows = [head]
    for name in bar(total=len(names), what="models", unit="network", iterable=names):
        cost, variant = table.cost(name, seconds), table.variant(name)
        published = f"{variant.published:.2f}" if variant.published else ""
        counts = [f"{cost.dim}", f"{cost.parameters / 1e6:.2f}", published, variant.source]
        speeds = [
            table.embeddings_per_second(name, seconds, where, batch, runtime, prepare=RUNTIMES[runtime])
            for runtime in runtimes
        ]
        rows.append([name, *counts, f"{cost.multiply_adds / 1e9:.2f}", *(f"{speed:.1f}" for speed in speeds)])
    return rows
