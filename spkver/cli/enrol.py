"""`spkver enrol`."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from spkver.cli import voices
from spkver.cli.terminal import to_stderr


@click.command(name="enrol")
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=voices.FILE)
@voices.model
@voices.book
@voices.channel
@click.option("--session", default="", metavar="TEXT", help="Label of the device or occasion of FILES.")
@voices.purpose
@voices.until
def command(
    name: str,
    files: tuple[Path, ...],
    model: str | None,
    book: Path | None,
    channel: int | None,
    session: str,
    purpose: str,
    until: date | None,
) -> None:
    """Add recordings of the person NAME to the speaker book. Run it again to add more.

    The book holds embeddings, not audio, and only you can read it. Embeddings are personal data: ask people before you
    enrol them, tell them the purpose, and remove them with `spkver forget` when they ask. After the day of --until, the
    person is not recognised any more, and is removed the next time the book is changed.

    \b
    Example:
      spkver enrol "Ada Lovelace" ada1.wav ada2.wav --model exp/xvector/model
      spkver enrol Bob bob.wav --purpose "door of the laboratory" --until 2030-12-31
    """
    from spkver.verify.people import enrol_recordings

    found = enrol_recordings(
        voices.load(model),
        voices.place(book),
        name,
        files,
        channel=channel,
        session=session,
        purpose=purpose,
        until=until,
        say=to_stderr,
    )
    voices.warn(found.doubts)
    number = f"{found.recordings} recording{'s'[: found.recordings != 1]}"
    click.echo(f"{found.name}: {number}, {found.new} of them new")
