"""spkver transform."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import outputs
from spkver.interop.convert import read, write
from spkver.scoring.chain import STEPS, fit_chain, read_chain, write_chain

_FILE = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Transforms of embeddings, learnt on a training set: centring, whitening, PCA, LDA, WCCN, length normalisation.

    \b
    Example:
      spkver transform fit train.parquet chain --steps centre,lda:150,length
      spkver score trials.txt test.parquet scores.txt --chain chain
    """


@command.command()
@click.argument("train", type=_FILE)
@click.argument("chain", type=outputs.directory("chain.yaml"))
@click.option(
    "--steps", default="centre,length", show_default=True, help=f"In this order: {', '.join(STEPS)} (pca:K, lda:K)."
)
def fit(train: Path, chain: Path, steps: str) -> None:
    """Learn a chain of steps on the embeddings TRAIN, and write it to the directory CHAIN.

    \b
    Example: spkver transform fit train.parquet chain --steps centre,lda:150,length
    """
    embeddings = read(train)
    write_chain(chain, fit_chain(embeddings, steps.split(",")))
    click.echo(f"{chain}: {steps}, learnt from {len(embeddings)} embeddings")


@command.command()
@click.argument("chain", type=_FILE)
@click.argument("embeddings", type=_FILE)
@click.argument("out", type=outputs.FILE)
def apply(chain: Path, embeddings: Path, out: Path) -> None:
    """Send EMBEDDINGS through the steps of CHAIN, and write them to OUT.

    \b
    Example: spkver transform apply chain test.parquet test.lda.parquet
    """
    changed = read_chain(chain)(read(embeddings))
    write(out, changed)
    click.echo(f"{out}: {len(changed)} embeddings of {changed.dim} values")
