"""`spkver speakers`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spkver.cli import options, voices


@click.command(name="speakers")
@voices.book
@options.as_json
def command(book: Path | None, as_json: bool) -> None:
    """List the people in the speaker book with their number of recordings.

    \b
    Example: spkver speakers
    """
    from spkver.verify import book as books

    known = books.open_book(voices.place(book)).recordings()
    if as_json:
        click.echo(json.dumps(known, indent=2, ensure_ascii=False))
    elif known:
        click.echo("\n".join(f"{name}\t{count}" for name, count in known.items()))
