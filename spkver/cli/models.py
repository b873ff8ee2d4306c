"""spkver models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--seconds", default=2.0, show_default=True, type=click.FloatRange(0.5), help="Length of the utterance.")
@click.option("--count", "only_count", is_flag=True, help="Count only, do not measure the speed.")
@click.option("--device", default="auto", show_default=True, help="Device to measure the speed on: cpu, cuda, auto.")
@click.option("--batch", type=click.IntRange(1), help="Utterances at a time.  [default: 1 on a CPU, 128 elsewhere]")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    default=("eager",),
    show_default=True,
    type=click.Choice(["eager", "compiled", "onnxruntime", "onnxruntime-int8"]),
    help="Runtime to measure (repeatable).",
)
@click.option("--markdown", is_flag=True, help="Print the table in Markdown.")
def command(
    names: tuple[str, ...],
    seconds: float,
    only_count: bool,
    device: str,
    batch: int | None,
    runtimes: tuple[str, ...],
    markdown: bool,
) -> None:
    """List networks: parameters and their published count, multiply-adds, embeddings per second.

    NAME is a value of the config key `model`. Without a NAME, all published sizes are listed.

    \b
    Example:
      spkver models resnet34 ecapa_tdnn_512 --seconds 3 --runtime eager --runtime onnxruntime
      spkver models --count --markdown
    """
    from spkver.encoder import pick_device
    from spkver.errors import InputError
    from spkver.models import table
    from spkver.models.variants import VARIANTS
    from spkver.progress import bar
    from spkver.report import tables

    names = names or tuple(VARIANTS)
    for name in names:
        table.build(name, "meta")  # reports a wrong name before the measurements
    rows = [["network", "dim", "parameters M", "published M", "by", f"multiply-adds G ({seconds:g} s)"]]
    where = None
    if not only_count:
        where = pick_device(device)
        if where.type != "cpu" and any(runtime.startswith("onnxruntime") for runtime in runtimes):
            raise InputError("onnxruntime runs on the CPU only: add --device cpu")
        batch = batch or (1 if where.type == "cpu" else 128)
        place = f"CPU, threads: {table.threads()}" if where.type == "cpu" else where.type
        rows[0] += [f"embeddings/s ({place}, {runtime}, {batch} at a time)" for runtime in runtimes]
    with bar(total=len(names), what="models", unit="network") as progress:
        for name in names:
            cost, variant = table.cost(name, seconds), table.variant(name)
            published = f"{variant.published:.2f}" if variant.published else ""
            counts = [f"{cost.dim}", f"{cost.parameters / 1e6:.2f}", published, variant.source]
            rows.append([name, *counts, f"{cost.multiply_adds / 1e9:.2f}"])
            if where is not None and batch is not None:
                speeds = [
                    table.embeddings_per_second(name, seconds, where, batch, runtime, prepare=_prepare(runtime))
                    for runtime in runtimes
                ]
                rows[-1] += [f"{speed:.1f}" for speed in speeds]
            progress.update()
    click.echo((tables.markdown if markdown else tables.text)(rows))


def _prepare(runtime: str) -> Callable[[Any, Any], Callable[[Any], Any]]:
    """A function (network, example features) that returns the network as a callable in this runtime."""
    import torch

    from spkver.export.onnx import in_onnxruntime

    return {
        "eager": lambda network, features: network,
        "compiled": lambda network, features: torch.compile(network),
        "onnxruntime": in_onnxruntime,
        "onnxruntime-int8": lambda network, features: in_onnxruntime(network, features, "int8"),
    }[runtime]
