"""spkver fuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import outputs
from spkver.cli.calibration import FILE, options
from spkver.cli.terminal import to_stderr
from spkver.scoring.calibration import calibrate


@click.command()
@click.argument("out", type=outputs.FILE)
@click.argument("systems", nargs=-1, required=True, type=FILE, metavar="SCORES...")
@click.option("--train", multiple=True, type=FILE, help="Labelled scores to fit on, one file for each of SCORES.")
@options
def command(out: Path, systems: tuple[Path, ...], train: tuple[Path, ...], **how: Any) -> None:
    """Fuse the scores of several systems on one trial list to natural-log likelihood ratios and write them to OUT.

    \b
    Example:
      spkver fuse fused.llr a.scores b.scores --train a.dev.scores --train b.dev.scores
    """
    number = calibrate(systems, out, train=train, say=to_stderr, **how)
    click.echo(f"{out}: {number} log-likelihood ratios")
