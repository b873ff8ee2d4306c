"""spkver transform."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs, outputs
from spkver.formats.convert import read, write
from spkver.scoring.chain import STEPS, fit_chain, read_chain, write_chain

_FILE = inputs.FILE


@click.group()
def command() -> None:
    """Transform embeddings: centring, whitening, PCA, LDA, WCCN, length normalisation, fitted on a training set.

    \b
    Example:
      spkver transform fit train.parquet chain --steps centre,lda:150,length
      spkver score trials.txt test.parquet scores.txt --chain chain
    """


@command.command()
@click.argument("train", type=_FILE)
@click.argument("chain", type=outputs.directory("chain.yaml"))
@click.option(
    "--steps",
    default="centre,length",
    show_default=True,
    help=f"Steps in order, of: {', '.join(STEPS)} (pca:K, lda:K).",
)
def fit(train: Path, chain: Path, steps: str) -> None:
    """Fit a chain of steps on the embeddings TRAIN and write it to the directory CHAIN.

    \b
    Example: spkver transform fit train.parquet chain --steps centre,lda:150,length
    """
    embeddings = read(train)
    write_chain(chain, fit_chain(embeddings, steps.split(",")))
    click.echo(f"{chain}: {steps}, fitted on {len(embeddings)} embeddings")


@command.command()
@click.argument("chain", type=_FILE)
@click.argument("embeddings", type=_FILE)
@click.argument("out", type=outputs.FILE)
def apply(chain: Path, embeddings: Path, out: Path) -> None:
    """Apply the steps of CHAIN to EMBEDDINGS and write the result to OUT.

    \b
    Example: spkver transform apply chain test.parquet test.lda.parquet
    """
    changed = read_chain(chain)(read(embeddings))
    write(out, changed)
    click.echo(f"{out}: {len(changed)} embeddings of {changed.dim} values")
