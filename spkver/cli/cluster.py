"""spkver cluster."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs, options, outputs
from spkver.formats.convert import read
from spkver.scoring.clusters import agreement, cluster, write_groups


@click.command()
@click.argument("embeddings", type=inputs.FILE)
@click.argument("out", type=outputs.FILE)
@click.option("--speakers", type=click.IntRange(min=1), required=True, help="Number of speakers to form.")
@options.seed("Seed of k-means.")
def command(embeddings: Path, out: Path, speakers: int, seed: int) -> None:
    """Cluster EMBEDDINGS into speakers and write OUT, with lines `utterance speaker`.

    Training uses OUT as labels (data.speakers). If the embeddings have speakers, their agreement with the clusters is
    printed.

    \b
    Example:
      spkver cluster exp/simclr/train.parquet labels --speakers 1500
      spkver train my.yaml --out exp/next data.speakers=labels
    """
    found = read(embeddings)
    groups = cluster(found, speakers, seed=seed)
    write_groups(out, list(found.ids), groups)
    click.echo(f"{out}: {len(found)} recordings, {groups.max() + 1} speakers")
    if found.speakers is not None and all(found.speakers):
        same = agreement(groups, found.speakers)
        click.echo(
            f"{100 * same.precision:.1f} % of the pairs within a group are one speaker's, "
            f"{100 * same.recall:.1f} % of the pairs of one speaker are within a group"
        )
