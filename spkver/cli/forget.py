"""`spkver forget`."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import voices


@click.command(name="forget")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@voices.book
def command(names: tuple[str, ...], book: Path | None) -> None:
    """Take people out of the speaker book, with all their recordings.

    \b
    The book is written anew without them. Copies that you, or a backup, made of it are not touched; nor does this
    overwrite the blocks that the old file had on the disk.

    \b
    Example: spkver forget "Ada Lovelace"
    """
    from spkver.verify import book as books

    left = books.forget(voices.place(book), names, say=voices.say)
    click.echo(f"forgotten: {', '.join(names)}; {len(left)} left in the book")
