"""`spkver forget`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spkver.cli import outputs, voices
from spkver.cli.terminal import to_stderr
from spkver.errors import RunError
from spkver.files import write_json


@click.command(name="forget")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@voices.book
@click.option("--receipt", type=outputs.FILE, help="Write what was removed, as JSON without embeddings.")
def command(names: tuple[str, ...], book: Path | None, receipt: Path | None) -> None:
    """Remove people and all their recordings from the speaker book.

    The book is rewritten without them. It keeps a hash of a random number for each, so that `spkver book restore` does
    not bring them back. Copies and backups of the book are not changed, and disk blocks of the old file are not
    overwritten.

    \b
    Example: spkver forget "Ada Lovelace" --receipt ada.json
    """
    from spkver.verify.book import forget

    done = forget(voices.place(book), names, say=to_stderr)
    click.echo(f"forgotten: {', '.join(names)}; {done.left} left in the book")
    if receipt is None:
        return
    try:
        write_json(receipt, done.plain())
    except OSError as error:
        click.echo(json.dumps(done.plain(), indent=2, ensure_ascii=False))
        raise RunError(f"{receipt}: the receipt cannot be written ({error.strerror}); it is printed instead") from error
