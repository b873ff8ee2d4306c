"""spkver normalise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import inputs, outputs, scoring
from spkver.scoring.backend import BackEnd
from spkver.scoring.cohort import CohortFile
from spkver.scoring.normalisation import METHODS, normalise_file

_FILE = inputs.FILE


@click.command()
@click.argument("scores", type=_FILE)
@click.argument("embeddings", type=_FILE)
@click.argument("cohort", type=_FILE)
@click.argument("out", type=outputs.FILE)
@click.option("--method", type=click.Choice(METHODS), default="s", show_default=True, help="Z-, T- or S-norm.")
@click.option("--top", type=click.IntRange(min=2), help="Adaptive norm: use only this many highest cohort scores.")
@click.option("--by-speaker", is_flag=True, help="Average the cohort embeddings of each speaker.")
@click.option("--cache", type=outputs.FOLDER, help="Directory to store cohort statistics in and reuse them from.")
@scoring.options
def command(
    scores: Path,
    embeddings: Path,
    cohort: Path,
    out: Path,
    method: str,
    top: int | None,
    by_speaker: bool,
    cache: Path | None,
    test: Path | None,
    enrolment: Path | None,
    **back_end: Any,
) -> None:
    """Normalise SCORES of EMBEDDINGS by the scores against the embeddings of COHORT and write them to OUT.

    COHORT holds other speakers, usually those of the training data. Give the same options as for `spkver score`.

    \b
    Example:
      spkver normalise scores.txt test.parquet train.parquet asnorm.txt --top 300 --by-speaker
    """
    others = CohortFile(cohort, BackEnd(**back_end), top=top, by_speaker=by_speaker, cache=cache)
    enrol, tests = others.statistics(embeddings, test=test, enrolment=enrolment)
    click.echo(f"{out}: {normalise_file(scores, enrol, tests, out, method)} scores")
