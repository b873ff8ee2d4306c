"""spkver curves."""

from __future__ import annotations

from pathlib import Path

import click

from spkver import tables
from spkver.cli import options, outputs
from spkver.report.curves import Curve, last_values, read_curves
from spkver.report.plots import write_training


@click.command()
@click.argument("systems", nargs=-1, required=True, metavar="NAME=EXPERIMENT...")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    default=("dev_eer", "dev_min_dcf"),
    show_default=True,
    help="Name of a metric in metrics.jsonl (repeatable).",
)
@click.option("--out", type=outputs.FOLDER, help="Directory for the plots METRIC.svg.")
@options.markdown
def command(systems: tuple[str, ...], metrics: tuple[str, ...], out: Path | None, markdown: bool) -> None:
    """Table of the last logged values of training runs, and plots of their curves. A repeated NAME is another run of
    that system, for example with another seed: the table then has the mean over runs and half its 95 % interval.

    \b
    Example:
      spkver curves LMCL=exp/lmcl BD-LMCL=exp/bd_lmcl --metric dev_eer --metric boundary_share --out exp/curves
    """
    runs: dict[str, list[dict[str, Curve]]] = {}
    for name, path in options.named(systems, "EXPERIMENT"):
        runs.setdefault(name, []).append(read_curves(path))
    table = last_values(runs, metrics)
    if out:
        write_training(runs, metrics, out)
    click.echo((tables.markdown if markdown else tables.text)(table))
