"""`spkver enrol`."""

from __future__ import annotations

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
def command(name: str, files: tuple[Path, ...], model: str | None, book: Path | None, channel: int | None) -> None:
    """Add recordings of the person NAME to the speaker book. Run it again to add more.

    The book holds embeddings, not audio, and only you can read it. Embeddings are personal data: ask people before you
    enrol them, tell them the purpose, and remove them with `spkver forget` when they ask.

    \b
    Example: spkver enrol "Ada Lovelace" ada1.wav ada2.wav --model exp/xvector/model
    """
    from spkver.verify.people import enrol_recordings

    found = enrol_recordings(voices.load(model), voices.place(book), name, files, channel=channel, say=to_stderr)
    voices.warn(found.doubts)
    number = f"{found.recordings} recording{'s'[: found.recordings != 1]}"
    click.echo(f"{found.name}: {number}, {found.new} of them new")
