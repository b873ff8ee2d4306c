"""`spkver speakers`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spkver.cli import options, voices
from spkver.cli.terminal import to_stderr


@click.command(name="speakers")
@voices.book
@options.as_json
def command(book: Path | None, as_json: bool) -> None:
    """List the people in the speaker book, and the voices that nobody has named.

    Prints one line for each: the name, the number of recordings, and what the person agreed to and until when, if that
    was given. Advice about people who should be enrolled again goes to standard error.

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
    if not known and not unnamed:
        to_stderr(f"nobody is enrolled in {opened.folder}")
    for name, count in known.items():
        person = opened.person(name)
        consent = [person.purpose] if person.purpose else []
        consent += [f"kept until {person.until}"] if person.until else []
        click.echo("\t".join([name, f"{count}", *consent]))
    for name, count in unnamed.items():
        click.echo(f"{name}\t{count}\tnot named, kept until {opened.person(name).until}")
