"""spkver plda."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs, options, outputs
from spkver.errors import InputError
from spkver.scoring.backend import BackEnd
from spkver.scoring.plda import coral, fit_plda, interpolated, read_plda, write_plda

_FILE = inputs.FILE
_CHAIN = click.option("--chain", type=_FILE, help="Transform the embeddings first (spkver transform).")


@click.group()
def command() -> None:
    """Probabilistic linear discriminant analysis (PLDA). Its scores are log-likelihood ratios.

    \b
    Example:
      spkver plda fit train.parquet plda --chain chain
      spkver score trials.txt test.parquet scores.txt --chain chain --plda plda
    """


@command.command()
@click.argument("train", type=_FILE)
@click.argument("plda", type=outputs.directory("plda.yaml"))
@click.option("--rank", type=int, help="Rank of the between-speaker covariance (simplified PLDA).  [default: full]")
@click.option("--iterations", type=click.IntRange(min=0), default=20, show_default=True, help="EM iterations.")
@_CHAIN
def fit(train: Path, plda: Path, rank: int | None, iterations: int, chain: Path | None) -> None:
    """Fit PLDA on the embeddings TRAIN, which must have speakers, and write it to the directory PLDA.

    \b
    Example: spkver plda fit train.parquet plda --chain chain --rank 100
    """
    embeddings = BackEnd(chain=chain).read(train)
    write_plda(plda, fit_plda(embeddings, rank=rank, iterations=iterations))
    click.echo(f"{plda}: fitted on {len(embeddings)} embeddings of {len(set(embeddings.speakers or ()))} speakers")


@command.command()
@click.argument("plda", type=_FILE)
@click.argument("out", type=outputs.directory("plda.yaml"))
@click.option("--coral", "domain", type=_FILE, help="CORAL: align with these embeddings; no speakers needed.")
@click.option("--with", "other", type=_FILE, help="Interpolate with this in-domain model.")
@click.option("--weight", type=options.FloatRange(0, 1), default=0.5, show_default=True, help="Weight of --with.")
@_CHAIN
def adapt(plda: Path, out: Path, domain: Path | None, other: Path | None, weight: float, chain: Path | None) -> None:
    """Adapt the model PLDA to another domain and write it to the directory OUT.

    \b
    Example: spkver plda adapt plda adapted --coral domain.parquet --chain chain
    """
    if (domain is None) == (other is None):
        raise InputError("give either --coral or --with")
    model = read_plda(plda)
    if other:
        write_plda(out, interpolated(model, read_plda(other), weight))
    elif domain:
        write_plda(out, coral(model, BackEnd(chain=chain).read(domain)))
    click.echo(f"{out}: adapted")
