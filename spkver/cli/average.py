"""`spkver average`."""

from __future__ import annotations

import click

from spkver.cli import outputs
from spkver.modeldir import CONFIG


@click.command(name="average")
@click.argument("experiment", type=click.Path())
@click.argument("out", type=outputs.directory(CONFIG))
@click.option("--last", type=click.IntRange(min=1), default=5, show_default=True, help="So many checkpoints.")
def command(experiment: str, out: str, last: int) -> None:
    """Write the mean of the last checkpoints of the run EXPERIMENT as the model directory OUT.

    A run does it by itself with train.final=average; this is for later, and for one that is not at its end.

    \b
    Example: spkver average exp/xvector exp/xvector/model-average --last 5
    """
    from spkver.recipe import average

    average(experiment, out, last=last, say=click.echo)
