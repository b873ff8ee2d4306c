"""`spkver train-samples`."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import outputs


@click.command(name="train-samples")
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--out", type=outputs.FOLDER, required=True, help="Directory for the tables and samples.html.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Table of the utterances: a data directory or pack (adds the SNR), or a .csv or .parquet file.",
)
def command(experiment: Path, out: Path, data: Path | None) -> None:
    """Describe the training samples of EXPERIMENT at each of its checkpoints: angles to their own class and the nearest
    other one, whether the selector selects them, their share of the gradient.

    OUT gets step-NNNNNNNN.parquet, a table with a row for each utterance, and a page. With --data, the page groups the
    samples by the columns of the table. If the speaker there differs, the training label counts as wrong.
    train.keep_checkpoints and train.checkpoint_every determine which checkpoints there are.

    \b
    Example: spkver train-samples exp/bd_lmcl --out exp/bd_lmcl/samples --data data/train
    """
    from spkver.recipe import describe_samples
    from spkver.report.samples import read_known, read_samples, write_page

    tables = describe_samples(experiment, out, say=click.echo)
    known = None if data is None else read_known(data)
    write_page(read_samples(tables), out / "samples.html", known=known, title=f"Training samples of {experiment}")
    click.echo(f"{out / 'samples.html'}: written")
