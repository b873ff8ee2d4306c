"""spkver normalise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import outputs, scoring
from spkver.files import sha256
from spkver.formats.means import means
from spkver.scoring.normalisation import (
    METHODS,
    CohortStatistics,
    cohort_statistics,
    kept_statistics,
    normalise_file,
)
from spkver.trials import read_enrolment

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("scores", type=_FILE)
@click.argument("embeddings", type=_FILE)
@click.argument("cohort", type=_FILE)
@click.argument("out", type=outputs.FILE)
@click.option("--method", type=click.Choice(METHODS), default="s", show_default=True, help="Z-, T- or S-norm.")
@click.option("--top", type=click.IntRange(min=2), help="Adaptive norm: use only this many highest cohort scores.")
@click.option("--by-speaker", is_flag=True, help="Average the cohort embeddings of each speaker.")
@click.option("--keep", type=outputs.FOLDER, help="Directory to store cohort statistics in and reuse them from.")
@scoring.options
def command(
    scores: Path,
    embeddings: Path,
    cohort: Path,
    out: Path,
    method: str,
    top: int | None,
    by_speaker: bool,
    keep: Path | None,
    test: Path | None,
    enrolment: Path | None,
    **how: Any,
) -> None:
    """Normalise SCORES of EMBEDDINGS by the scores against the embeddings of COHORT and write them to OUT.

    COHORT holds other speakers, usually those of the training data. Give the same options as for `spkver score`.

    \b
    Example:
      spkver normalise scores.txt test.parquet train.parquet asnorm.txt --top 300 --by-speaker
    """
    back_end = scoring.BackEnd(**how)

    def statistics(path: Path, models: Path | None, name: str) -> CohortStatistics:
        def make() -> CohortStatistics:
            others = back_end.read(cohort)
            others = means(others, "speaker") if by_speaker else others
            sides = back_end.sides(back_end.read(path), others, read_enrolment(models) if models else None)
            return cohort_statistics(sides, top)

        if keep is None:
            return make()
        inputs = {"embeddings": path, "enrolment": models, "cohort": cohort, **how}
        hashes = {key: _hash(file) for key, file in inputs.items() if isinstance(file, Path)}
        return kept_statistics(keep / f"{name}.parquet", hashes | {"top": top, "by_speaker": by_speaker}, make)

    enrol = statistics(embeddings, enrolment, "enrol")
    same = test is None and enrolment is None
    tests = enrol if same else statistics(test or embeddings, None, "test")
    click.echo(f"{out}: {normalise_file(scores, enrol, tests, out, method)} scores")


def _hash(path: Path) -> str:
    """Hash of a file, or of the files of a directory."""
    return " ".join(map(sha256, sorted(path.iterdir()))) if path.is_dir() else sha256(path)
