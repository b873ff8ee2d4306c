"""spkver plda."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import outputs
from spkver.cli.scoring import read_chain
from spkver.errors import InputError
from spkver.interop.convert import read
from spkver.scoring.plda import coral, fit_plda, interpolated, read_plda, write_plda

_FILE = click.Path(path_type=Path)
_CHAIN = click.option("--chain", type=_FILE, help="Transform the embeddings first (spkver transform).")


@click.group()
def command() -> None:
    """Probabilistic linear discriminant analysis: models that give log-likelihood ratios.

    \b
    Example:
      spkver plda fit train.parquet plda --chain chain
      spkver score trials.txt test.parquet scores.txt --chain chain --plda plda
    """


@command.command()
@click.argument("train", type=_FILE)
@click.argument("plda", type=outputs.directory("plda.yaml"))
@click.option("--rank", type=int, help="Of the covariance between speakers (simplified PLDA); full without it.")
@click.option("--iterations", type=click.IntRange(min=0), default=20, show_default=True, help="Of EM.")
@_CHAIN
def fit(train: Path, plda: Path, rank: int | None, iterations: int, chain: Path | None) -> None:
    """Learn a model from the embeddings TRAIN, whose speakers are known, and write it to the directory PLDA.

    \b
    Example: spkver plda fit train.parquet plda --chain chain --rank 100
    """
    embeddings = read_chain(chain)(read(train))
    write_plda(plda, fit_plda(embeddings, rank=rank, iterations=iterations))
    click.echo(f"{plda}: learnt from {len(embeddings)} embeddings of {len(set(embeddings.speakers or ()))} speakers")


@command.command()
@click.argument("plda", type=_FILE)
@click.argument("out", type=outputs.directory("plda.yaml"))
@click.option("--coral", "domain", type=_FILE, help="Align it with these embeddings, which need no speakers.")
@click.option("--with", "other", type=_FILE, help="Interpolate with this model, learnt in the domain.")
@click.option("--weight", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of that model.")
@_CHAIN
def adapt(plda: Path, out: Path, domain: Path | None, other: Path | None, weight: float, chain: Path | None) -> None:
    """Move the model PLDA to another domain, and write it to the directory OUT.

    \b
    Example: spkver plda adapt plda adapted --coral domain.parquet --chain chain
    """
    if (domain is None) == (other is None):
        raise InputError("give one of --coral and --with")
    model = read_plda(plda)
    if other:
        write_plda(out, interpolated(model, read_plda(other), weight))
    elif domain:
        write_plda(out, coral(model, read_chain(chain)(read(domain))))
    click.echo(f"{out}: adapted")
