"""spkver score-all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import inputs, outputs, scoring
from spkver.scoring.backend import BackEnd
from spkver.scoring.files import score_all


@click.command()
@click.argument("embeddings", type=inputs.FILE)
@click.argument("out", type=outputs.FILE)
@scoring.options
def command(embeddings: Path, out: Path, test: Path | None, enrolment: Path | None, **back_end: Any) -> None:
    """Score every enrolment against every test utterance and write OUT.

    OUT is a score file (text, .csv or .parquet), or .npz with the arrays `enrol` and `test` (ids) and `scores`, float32
    (enrolments, tests). Without --test, EMBEDDINGS are scored against themselves, including each with itself.

    \b
    Example:
      spkver score-all enrol.parquet scores.npz --test test.parquet
    """
    sides = BackEnd(**back_end).open(embeddings, test=test, enrolment=enrolment)
    click.echo(f"{out}: {score_all(sides, out)} scores")
