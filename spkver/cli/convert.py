"""spkver convert."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs, outputs
from spkver.embeddings import DTYPES
from spkver.formats.convert import convert
from spkver.formats.means import PER


@click.command()
@click.argument("source", type=inputs.FILE)
@click.argument("target", type=outputs.FILE)
@click.option(
    "--per", type=click.Choice(PER), help="Write one embedding for each: the mean after length normalisation."
)
@click.option("--dtype", type=click.Choice(DTYPES), default=DTYPES[0], show_default=True, help="Stored type.")
@click.option("--text", is_flag=True, help="Write Kaldi's text format (.ark and .scp).")
def command(source: Path, target: Path, per: str | None, dtype: str, text: bool) -> None:
    """Convert embeddings from SOURCE to TARGET. The file names give the formats.

    \b
    .parquet .npz .jsonl .safetensors .h5   everything
    .faiss                                  a nearest-neighbour index (cosine, exact); the ids of
                                            its rows are in NAME.faiss.jsonl
    .npy .ark .scp                          ids and vectors (.npy with NAME.ids, .scp with NAME.ark)

    With float16 and int8 (one scale for each vector) the lowest cosine to the float32 embeddings is printed.

    \b
    Example:
      spkver convert test.parquet kaldi/xvector.scp
      spkver convert enrol.parquet speakers.faiss --per speaker
      spkver convert windows.parquet small.h5 --dtype int8
    """
    done = convert(source, target, text=text, dtype=dtype, per=per)
    click.echo(f"{target}: {len(done.embeddings)} embeddings of {done.embeddings.dim} values")
    if done.cosine is not None:
        click.echo(f"{dtype}: lowest cosine to the embeddings read: {done.cosine:.7f}")
