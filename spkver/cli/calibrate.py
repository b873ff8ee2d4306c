"""spkver calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import outputs
from spkver.cli.calibration import FILE, options
from spkver.cli.terminal import to_stderr
from spkver.scoring.calibration import calibrate


@click.command()
@click.argument("scores", type=FILE)
@click.argument("out", type=outputs.FILE)
@click.option("--train", type=FILE, help="Fit the calibration on these labelled scores.")
@options
def command(scores: Path, out: Path, train: Path | None, **how: Any) -> None:
    """Convert SCORES to natural-log likelihood ratios and write them to OUT.

    The calibration is fitted on --train, read with --load, or cross-validated on SCORES with --folds. In
    cross-validation, a trial's calibration is fitted without either of its speakers.

    \b
    Example:
      spkver calibrate test.scores test.llr --train dev.scores --save calibration.json
    """
    number = calibrate([scores], out, train=[train] if train else [], say=to_stderr, **how)
    click.echo(f"{out}: {number} log-likelihood ratios")
