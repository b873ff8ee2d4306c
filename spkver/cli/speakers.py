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
    """List the people in the speaker book with their number of recordings, and the voices that nobody has named.

    Advice about people who should be enrolled again goes to standard error.

    \b
    Example: spkver speakers
    """
    from spkver.verify.advice import renewals
    from spkver.verify.book import open_book

    opened = open_book(voices.place(book))
    known, unnamed = opened.recordings(), opened.unknown()
    voices.warn(renewals(opened))
    if as_json:
        click.echo(json.dumps(known, indent=2, ensure_ascii=False))
        return
    for name, count in known.items():
        click.echo(f"{name}\t{count}")
    for name, count in unnamed.items():
        click.echo(f"{name}\t{count}\tnot named, kept until {opened.person(name).until}")
