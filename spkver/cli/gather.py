"""spkver gather."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs
from spkver.work import gather


@click.command()
@click.argument("out", type=inputs.FILE)
def command(out: Path) -> None:
    """Gather the parts of OUT that runs with --part 1/M to M/M have made, on one machine or several.

    OUT is then the same as from one run without --part. If parts are missing, the command says how many: run their
    commands again, which keep the parts that exist.

    \b
    Example: spkver pack data/train packs/train --part 1/2
             spkver pack data/train packs/train --part 2/2
             spkver gather packs/train
    """
    click.echo(f"{gather(out)}: complete")
