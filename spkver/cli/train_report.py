"""spkver train-report."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spkver.cli import options, outputs
from spkver.errors import InputError


@click.command(name="train-report")
@click.argument("experiments", nargs=-1, required=True, metavar="EXPERIMENT...")
@click.option("--out", type=outputs.FILE, help="Also write an HTML page with the curves: FILE.html.")
@options.as_json
def command(experiments: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Summarise training runs: curves, likely problems and what to change.

    Finds runs that do not learn, diverge or overfit, margins that are too large or have no effect, gradient spikes,
    slow data loading and similar problems. The run may still be in progress.

    \b
    Example: spkver train-report exp/xvector --out exp/xvector/report.html
    """
    from spkver.report import training
    from spkver.report.health import read_run
    from spkver.report.page import is_page

    runs = {name: read_run(name) for name in experiments}
    if out is not None:
        if not is_page(out):
            raise InputError(f"{out}: the name must end with .html")
        training.write_page(runs, out)
    if as_json:
        click.echo(json.dumps({name: training.plain(run) for name, run in runs.items()}, indent=2))
    else:
        click.echo("\n".join(training.text(name, run) for name, run in runs.items()))
