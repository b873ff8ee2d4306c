"""spkver train-report."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spkver.cli import outputs
from spkver.errors import InputError


@click.command(name="train-report")
@click.argument("experiments", nargs=-1, required=True, metavar="EXPERIMENT...")
@click.option("--out", type=outputs.FILE, help="Page with the curves: FILE.html, or a picture, .png, .svg.")
@click.option("--title", default="Training", show_default=True, help="Above the page.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(experiments: tuple[str, ...], out: Path | None, title: str, as_json: bool) -> None:
    """How training runs went: their curves, and in words what looks wrong and what to do.

    Told are runs that do not learn, diverge or overfit, margins that are too large or do nothing, gradients with
    spikes, data that come too slowly, and the like. A run that is still at work may be looked at, too.

    \b
    Example: spkver train-report exp/xvector --out exp/xvector/report.html
    """
    from spkver.report import training
    from spkver.report.health import read_run

    runs = {name: read_run(name) for name in experiments}
    if out is not None:
        kind = out.suffix.lstrip(".")
        if kind == "html":
            training.write_page(runs, out, title=title)
        elif kind in ("png", "svg"):
            training.draw(runs, {kind: out})
        else:
            raise InputError(f"{out}: expected a name that ends with .html, .png or .svg")
    if as_json:
        click.echo(json.dumps({name: training.plain(run) for name, run in runs.items()}, indent=2))
    else:
        click.echo("\n".join(training.text(name, run) for name, run in runs.items()))
