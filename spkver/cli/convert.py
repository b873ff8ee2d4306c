"""spkver convert."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.interop.convert import convert


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--text", is_flag=True, help="Write Kaldi's text form (.ark and .scp).")
def command(source: Path, target: Path, text: bool) -> None:
    """Embeddings from SOURCE to TARGET: .parquet, .npz, .npy (with its .ids), Kaldi's .ark or
    .scp (with its .ark).

    \b
    Example:
      spkver convert test.parquet kaldi/xvector.scp
    """
    embeddings = convert(source, target, text=text)
    click.echo(f"{target}: {len(embeddings)} embeddings of {embeddings.dim} values")
