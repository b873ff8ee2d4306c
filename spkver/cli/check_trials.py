"""spkver check-trials."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs, options
from spkver.metrics import OPERATING_POINTS, operating_point
from spkver.metrics.dcf import rate_costs
from spkver.scoring.metadata import read_speakers
from spkver.trials import check, read_trials
from spkver.trials.checks import Cost

_FILE = inputs.FILE


@click.command()
@click.argument("trials", type=_FILE)
@options.speakers("Speakers of the ids: check the labels against them.")
@options.speakers("Speakers of the training data: warn of shared speakers.", "--train-speakers")
@click.option("--point", "points", multiple=True, help=f"Warn if too few trials for: {', '.join(OPERATING_POINTS)}.")
def command(
    trials: Path, speakers: tuple[Path, ...], train_speakers: tuple[Path, ...], points: tuple[str, ...]
) -> None:
    """Check the list TRIALS: duplicates, trials of a recording with itself, contradicting labels, training speakers,
    too few trials for an operating point. Prints one warning for each kind; the exit code is 0.

    \b
    Example:
      spkver check-trials trials.txt --speakers data/test --train-speakers data/train --point vox-0.01
    """
    listed = read_trials(trials)
    odd = check(
        listed,
        read_speakers(speakers) if speakers else None,
        read_speakers(train_speakers) if train_speakers else None,
        {name: Cost(*rate_costs(operating_point(name))) for name in points},
    )
    for line in odd:
        click.echo(f"warning: {line}")
    click.echo(f"{trials}: {len(listed)} trials" + ("" if odd else ", no problems"))
