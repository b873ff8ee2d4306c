"""`spkver average`."""

from __future__ import annotations

import click

from spkver.cli import outputs
from spkver.modeldir import CONFIG


@click.command(name="average")
@click.argument("experiment", type=click.Path())
@click.argument("out", type=outputs.directory(CONFIG))
@click.option("--last", type=click.IntRange(min=1), default=5, show_default=True, help="Number of checkpoints.")
def command(experiment: str, out: str, last: int) -> None:
    """Average the weights of the last checkpoints of the run EXPERIMENT and write the model directory OUT.

    A run with train.final=average does this at its end. Use this command for other runs and unfinished ones.

    \b
    Example: spkver average exp/xvector exp/xvector/model-average --last 5
    """
    from spkver.recipe import average

    average(experiment, out, last=last, say=click.echo)
