"""spkver score-all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import inputs, options, outputs, scoring
from spkver.scoring.backend import BackEnd
from spkver.scoring.files import score_all
from spkver.scoring.highest import Search, score_top
from spkver.work import Share, engine


@click.command()
@click.argument("embeddings", type=inputs.FILE)
@click.argument("out", type=outputs.FILE)
@click.option("--top", type=click.IntRange(min=1), help="Only this many highest scores of each enrolment, sorted.")
@options.jobs
@options.on
@options.part
@scoring.options
def command(
    embeddings: Path,
    out: Path,
    top: int | None,
    jobs: int | None,
    on: str,
    share: Share | None,
    test: Path | None,
    enrolment: Path | None,
    **back_end: Any,
) -> None:
    """Score every enrolment against every test utterance and write OUT.

    OUT is a score file (text, .csv or .parquet), or .npz with the arrays `enrol` and `test` (ids) and `scores`, float32
    (enrolments, tests). Without --test, EMBEDDINGS are scored against themselves, including each with itself.

    With --top, OUT is a list, and the test embeddings are read block by block, so they need not fit into memory.
    Without --test, the score of an embedding with itself is then left out.

    \b
    Example:
      spkver score-all enrol.parquet scores.npz --test test.parquet
      spkver score-all enrol.parquet rivals.parquet --test corpus.parquet --top 100
    """
    made_on = engine(on, jobs, threads=True)
    if top is not None:
        search = Search(BackEnd(**back_end), embeddings, test, enrolment)
        scoring.show(out, score_top(search, top, out, on=made_on, share=share))
        return
    sides = BackEnd(**back_end).open(embeddings, test=test, enrolment=enrolment)
    scoring.show(out, score_all(sides, out, on=made_on, share=share))
