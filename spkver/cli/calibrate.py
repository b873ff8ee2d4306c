"""spkver calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import outputs
from spkver.cli.calibration import FILE, calibration, options


@click.command()
@click.argument("scores", type=FILE)
@click.argument("out", type=outputs.FILE)
@click.option("--train", type=FILE, help="Learn from these labelled scores.")
@options
def command(scores: Path, out: Path, train: Path | None, **how: Any) -> None:
    """SCORES as natural-log likelihood ratios, written to OUT.

    \b
    The map is learnt from --train, read from --model, or cross-validated on SCORES by --folds: then each trial gets its
    ratio from a map that has seen neither of its speakers.

    \b
    Example:
      spkver calibrate test.scores test.llr --train dev.scores --save calibration.json
    """
    click.echo(calibration([scores], out, [train] if train else [], **how))
