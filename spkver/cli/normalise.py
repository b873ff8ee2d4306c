"""spkver normalise."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.files import sha256
from spkver.interop.convert import read
from spkver.scoring import cosine
from spkver.scoring.normalisation import (
    METHODS,
    CohortStatistics,
    cohort_statistics,
    kept_statistics,
    normalise_file,
    speaker_means,
)
from spkver.trials import read_enrolment

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("scores", type=_FILE)
@click.argument("embeddings", type=_FILE)
@click.argument("cohort", type=_FILE)
@click.argument("out", type=_FILE)
@click.option("--method", type=click.Choice(METHODS), default="s", show_default=True, help="Z-, T- or S-norm.")
@click.option("--top", type=click.IntRange(min=2), help="Adaptive: only so many highest cohort scores of each side.")
@click.option("--by-speaker", is_flag=True, help="The cohort is the mean of each of its speakers.")
@click.option("--test", type=_FILE, help="Embeddings of the test side, if in a file of their own.")
@click.option("--enrolment", type=_FILE, help="Lines of `model utterance utterance ...` (spk2utt).")
@click.option("--mean", type=_FILE, help="Subtract the mean of the embeddings in this file, as when scoring.")
@click.option("--keep", type=_FILE, help="Directory that keeps the cohort statistics for the next time.")
@click.option("--device", default="cpu", show_default=True, help="Where the products are made: cpu, or cuda.")
def command(
    scores: Path,
    embeddings: Path,
    cohort: Path,
    out: Path,
    method: str,
    top: int | None,
    by_speaker: bool,
    test: Path | None,
    enrolment: Path | None,
    mean: Path | None,
    keep: Path | None,
    device: str,
) -> None:
    """Cosine SCORES of EMBEDDINGS, normalised by their scores against the embeddings of COHORT, written to OUT.

    \b
    COHORT is of other speakers, most often of the training. The options are those that the scores were made with.

    \b
    Example:
      spkver normalise scores.txt test.parquet train.parquet asnorm.txt --top 300 --by-speaker
    """
    others = read(cohort)
    others = speaker_means(others) if by_speaker else others
    centre = cosine.mean_of(read(mean), like=others) if mean else None

    def statistics(path: Path, models: Path | None, name: str) -> CohortStatistics:
        def make() -> CohortStatistics:
            grouped = read_enrolment(models) if models else None
            sides = cosine.sides(read(path), enrolment=grouped, mean=centre, test=others, device=device)
            return cohort_statistics(sides, top)

        if keep is None:
            return make()
        inputs = {"embeddings": path, "enrolment": models, "cohort": cohort, "mean": mean}
        settings = {key: sha256(file) for key, file in inputs.items() if file} | {"top": top, "by_speaker": by_speaker}
        return kept_statistics(keep / f"{name}.parquet", settings, make)

    enrol = statistics(embeddings, enrolment, "enrol")
    same = test is None and enrolment is None
    tests = enrol if same else statistics(test or embeddings, None, "test")
    click.echo(f"{out}: {normalise_file(scores, enrol, tests, out, method)} scores")
