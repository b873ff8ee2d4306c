"""spkver score."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.embeddings import read_embeddings
from spkver.scoring import cosine
from spkver.trials import Scores, read_enrolment, read_trials, write_scores


@click.command()
@click.argument("trials", type=click.Path(path_type=Path))
@click.argument("embeddings", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--test", type=click.Path(path_type=Path), help="Embeddings of the test side, if in a file of their own.")
@click.option("--enrolment", type=click.Path(path_type=Path), help="Lines of `model utterance utterance ...`.")
@click.option("--mean", type=click.Path(path_type=Path), help="Subtract the mean of the embeddings in this file.")
def command(
    trials: Path, embeddings: Path, out: Path, test: Path | None, enrolment: Path | None, mean: Path | None
) -> None:
    """Cosine scores of the list TRIALS with EMBEDDINGS, written to OUT (text, .csv or .parquet).

    \b
    Example:
      spkver score trials.txt test.parquet scores.txt --mean train.parquet
    """
    listed = read_trials(trials)
    vectors = read_embeddings(embeddings)
    values = cosine.score(
        listed,
        vectors,
        enrolment=read_enrolment(enrolment) if enrolment else None,
        mean=cosine.mean_of(read_embeddings(mean), like=vectors) if mean else None,
        test=read_embeddings(test) if test else None,
    )
    write_scores(out, Scores(listed, values))
    click.echo(f"{out}: {len(values)} scores")
