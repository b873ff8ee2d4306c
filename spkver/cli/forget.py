"""`spkver forget`."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import voices
from spkver.cli.terminal import to_stderr


@click.command(name="forget")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@voices.book
def command(names: tuple[str, ...], book: Path | None) -> None:
    """Remove people and all their recordings from the speaker book.

    The book is rewritten without them. Copies and backups of the book are not changed, and the disk blocks of the old
    file are not overwritten.

    \b
    Example: spkver forget "Ada Lovelace"
    """
    from spkver.verify import book as books

    left = books.forget(voices.place(book), names, say=to_stderr)
    click.echo(f"forgotten: {', '.join(names)}; {len(left)} left in the book")
