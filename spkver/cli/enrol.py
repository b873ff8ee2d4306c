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
def command(name: str, files: tuple[Path, ...], model: Path | None, book: Path | None, channel: int | None) -> None:
    """Add recordings of the person NAME to the speaker book. Run it again to add more.

    The book holds embeddings, not audio, and only you can read it. Embeddings are personal data: ask people before you
    enrol them, tell them the purpose, and remove them with `spkver forget` when they ask.

    \b
    Example: spkver enrol "Ada Lovelace" ada1.wav ada2.wav --model exp/xvector/model
    """
    from spkver.progress import bar
    from spkver.verify import book as books
    from spkver.verify.model import embeddings_of

    name, where = books.checked(name), voices.place(book)
    before = books.open_book(where)
    verifier = voices.load(model)
    before.require(verifier.model_id)
    with bar(total=len(files), what="enrol", unit="file") as progress:
        heard = []
        for file in files:
            heard.append(verifier.listen(file, channel=channel))
            progress.update()
    voices.warn(doubt for one in heard for doubt in one.doubts)
    after = books.enrol(where, name, embeddings_of(verifier, heard), say=to_stderr)
    if verifier.decision is not None:
        voices.warn(books.odd(after, name, verifier.decision.threshold, verifier.cohort))
    said, new = after.recordings_of(name), after.recordings_of(name) - before.recordings_of(name)
    click.echo(f"{name}: {said} recording{'s'[: said != 1]}, {new} of them new")
