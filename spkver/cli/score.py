"""spkver score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import inputs, outputs, scoring
from spkver.scoring.backend import BackEnd
from spkver.scoring.files import score_list


@click.command()
@click.argument("trials", type=inputs.FILE)
@click.argument("embeddings", type=inputs.FILE)
@click.argument("out", type=outputs.FILE)
@scoring.options
def command(
    trials: Path, embeddings: Path, out: Path, test: Path | None, enrolment: Path | None, **back_end: Any
) -> None:
    """Score the list TRIALS with EMBEDDINGS and write OUT (text, .csv or .parquet).

    Scores are cosines, or log-likelihood ratios with --plda.
    EMBEDDINGS: .parquet, .npz, .npy (with its .ids), or Kaldi's .ark or .scp. Long lists are processed in parts.

    \b
    Example:
      spkver score trials.txt test.parquet scores.txt --mean train.parquet
    """
    sides = BackEnd(**back_end).open(embeddings, test=test, enrolment=enrolment)
    click.echo(f"{out}: {score_list(trials, sides, out)} scores")
