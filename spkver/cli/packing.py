"""Shared by the commands that write packs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from spkver.packs import Summary


def _all_cpus() -> int:
    from spkver.processes import available_cpus

    return available_cpus()


jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), default=_all_cpus, show_default="all cores", help="Number of processes."
)

speed_option = click.option(
    "--speed", "speeds", type=float, multiple=True, help="Add copies at this speed as new speakers (repeatable)."
)


def show_summary(summary: Summary) -> None:
    """Print one line about the pack."""
    kept = f"; {summary.kept} shards kept from an earlier run" if summary.kept else ""
    click.echo(
        f"{summary.path}: {'already packed: ' if summary.already_packed else ''}{summary.rows} utterances, "
        f"{summary.speakers} speakers, {summary.seconds / 3600:.2f} h, {summary.rejected} rejected{kept}"
    )
