"""`spkver data verify`: check a pack against its hashes."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs


@click.command(name="verify")
@click.argument("pack", type=inputs.FILE)
def command(pack: Path) -> None:
    """Read all of PACK and compare it with its hashes. Exit code 2 if a file is changed, truncated or missing.

    \b
    Example: spkver data verify packs/train
    """
    from spkver.errors import InputError
    from spkver.packs import verify

    found = verify(pack)
    for line in found:
        click.echo(line)
    if found:
        raise InputError(f"{pack}: {len(found)} of its files are damaged or missing; pack again")
    click.echo(f"{pack}: intact")
