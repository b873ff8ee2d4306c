"""spkver score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import inputs, options, outputs, scoring
from spkver.scoring.backend import BackEnd
from spkver.scoring.files import score_list
from spkver.work import Share, engine


@click.command()
@click.argument("trials", type=inputs.FILE)
@click.argument("embeddings", type=inputs.FILE)
@click.argument("out", type=outputs.FILE)
@options.jobs
@options.on
@options.part
@scoring.options
def command(
    trials: Path,
    embeddings: Path,
    out: Path,
    jobs: int | None,
    on: str,
    share: Share | None,
    test: Path | None,
    enrolment: Path | None,
    **back_end: Any,
) -> None:
    """Score the list TRIALS with EMBEDDINGS and write OUT (text, .csv or .parquet).

    Scores are cosines, or log-likelihood ratios with --plda.
    EMBEDDINGS: .parquet, .npz, .npy (with its .ids), or Kaldi's .ark or .scp. Long lists are processed in parts.

    \b
    Example:
      spkver score trials.txt test.parquet scores.txt --mean train.parquet
    """
    sides = BackEnd(**back_end).open(embeddings, test=test, enrolment=enrolment)
    scoring.show(out, score_list(trials, sides, out, on=engine(on, jobs, threads=True), share=share))
