"""spkver normalise."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from spkver.cli import inputs, options, outputs, scoring
from spkver.files import is_stream
from spkver.scoring.backend import BackEnd
from spkver.scoring.cohort import CohortFile
from spkver.scoring.normalisation import METHODS, normalise_file
from spkver.storage import Url
from spkver.work import engine

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
@options.jobs
@options.on
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
    jobs: int | None,
    on: str,
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
    made_on = engine(on, jobs, threads=True)
    folder = None if cache or is_stream(out) or isinstance(out, Url) else out.with_name(f"{out.name}.cohort")
    try:
        enrol, tests = others.statistics(embeddings, test=test, enrolment=enrolment, on=made_on, kept=folder)
        click.echo(f"{out}: {normalise_file(scores, enrol, tests, out, method, on=made_on)} scores")
    finally:
        if folder is not None:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the statistics, unless they are incomplete: the next run continues with their parts."""
    if not any(folder.glob("*.partial")):
        shutil.rmtree(folder, ignore_errors=True)
