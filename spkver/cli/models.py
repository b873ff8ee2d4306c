"""spkver models."""

from __future__ import annotations

import click

from spkver.cli import options


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option(
    "--seconds", default=2.0, show_default=True, type=options.FloatRange(0.5), help="Length of the utterance."
)
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
@click.option("--pretrained", is_flag=True, help="List published models that `spkver import` and --model take by name.")
@options.markdown
def command(
    names: tuple[str, ...],
    seconds: float,
    only_count: bool,
    device: str,
    batch: int | None,
    runtimes: tuple[str, ...],
    pretrained: bool,
    markdown: bool,
) -> None:
    """List networks: parameters and their published count, multiply-adds, embeddings per second.

    NAME is a value of the config key `model`. Without a NAME, all published sizes are listed.

    \b
    Example:
      spkver models resnet34 ecapa_tdnn_512 --seconds 3 --runtime eager --runtime onnxruntime
      spkver models --count --markdown
      spkver models --pretrained
    """
    from spkver import tables

    if pretrained:
        from spkver.interop.hub.catalogue import rows

        click.echo(tables.markdown(rows()) if markdown else tables.text(rows(), words=7))
        return
    from spkver.export.speed import networks_table

    measured = () if only_count else runtimes
    found = networks_table(names, seconds=seconds, runtimes=measured, device=device, batch=batch)
    click.echo((tables.markdown if markdown else tables.text)(found))
