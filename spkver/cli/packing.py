"""Shared by the commands that write packs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from spkver.packs import Summary


speed_option = click.option(
    "--speed", "speeds", type=float, multiple=True, help="Add copies at this speed as new speakers (repeatable)."
)


def show_summary(out: Path, summary: Summary | None) -> None:
    """Print one line about the pack; None: only a share of its shards was made."""
    if summary is None:
        click.echo(f"{out}: the shards of this part are made; when all are, run: spkver gather {out}")
        return
    kept = f"; {summary.kept} shards kept from an earlier run" if summary.kept else ""
    click.echo(
        f"{summary.path}: {'already packed: ' if summary.already_packed else ''}{summary.rows} utterances, "
        f"{summary.speakers} speakers, {summary.seconds / 3600:.2f} h, {summary.rejected} rejected{kept}"
    )
