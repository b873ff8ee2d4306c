"""`spkver book`: upkeep of the speaker book."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from spkver.cli import inputs, outputs, voices
from spkver.cli.terminal import to_stderr
from spkver.errors import InputError


@click.group()
def command() -> None:
    """Manage the speaker book: rename, export, back up, restore, encrypt, move to another model.

    \b
    Example: spkver book backup book.backup
    """


@command.command()
@click.argument("old")
@click.argument("new")
@voices.book
@voices.purpose
@voices.until
def name(old: str, new: str, book: Path | None, purpose: str, until: date | None) -> None:
    """Name an unnamed voice, or rename a person.

    An unnamed voice can also be added to a person NEW who is in the book.

    \b
    Example: spkver book name "unknown 3" "Ada Lovelace" --purpose "minutes of meetings"
    """
    from spkver.verify.book import name_voice

    name_voice(voices.place(book), old, new, purpose=purpose, until=until, say=to_stderr)
    click.echo(f"{old} is now {new}")


@command.command()
@voices.book
def expire(book: Path | None) -> None:
    """Remove the people whose last day has passed. They are no longer recognised even if they are not removed.

    \b
    Example: spkver book expire
    """
    from spkver.verify import book as books

    gone = books.expire(voices.place(book))
    click.echo(f"removed: {', '.join(gone)}" if gone else "nobody has expired")


@command.command()
@click.argument("name")
@click.argument("out", type=outputs.FILE, metavar="OUT.json")
@voices.book
def export(name: str, out: Path, book: Path | None) -> None:
    """Write all that the book holds about NAME.

    \b
    Example: spkver book export "Ada Lovelace" ada.json
    """
    from spkver.verify import upkeep

    count = upkeep.export(voices.place(book), name, out)
    click.echo(f"{out}: {name}, {count} recording{'s'[: count != 1]}")


@command.command()
@click.argument("out", type=outputs.FILE)
@voices.book
def backup(out: Path, book: Path | None) -> None:
    """Copy the book to the file OUT. The copy of an encrypted book is encrypted.

    \b
    Example: spkver book backup book.backup
    """
    from spkver.verify import upkeep

    click.echo(f"{out}: people: {len(upkeep.backup(voices.place(book), out))}")


@command.command()
@click.argument("file", type=inputs.FILE)
@voices.book
@click.option("--key", type=inputs.FILE, help="File of the key of the backup, if it is not the key of the book.")
def restore(file: Path, book: Path | None, key: Path | None) -> None:
    """Replace the book by the backup FILE.

    The contents are replaced completely or not at all. People who were removed from the book after the backup stay
    removed.

    \b
    Example: spkver book restore book.backup
    """
    from spkver.verify import upkeep

    done = upkeep.restore(voices.place(book), file, key=key, say=to_stderr)
    left_out = f"; left out, because they were removed or have expired: {done.left_out}" if done.left_out else ""
    click.echo(f"people in the book: {done.people}{left_out}")


@command.command()
@click.option("--key", required=True, type=click.Path(path_type=Path), help="File of the key; made if there is none.")
@voices.book
def encrypt(key: Path, book: Path | None) -> None:
    """Encrypt the book, or change its key.

    Needs the extra `vault`. The environment variable SPKVER_BOOK_KEY names the file of the key for all commands.
    If that file is lost, so is the book. Disk blocks of the unencrypted file are not overwritten.

    \b
    Example: spkver book encrypt --key ~/keys/book.key
    """
    from spkver.verify import upkeep, vault

    upkeep.encrypt(voices.place(book), key)
    click.echo(f"encrypted; set {vault.KEY_FILE}={key.resolve()} from now on, and keep a copy of that file")


@command.command()
@voices.book
def decrypt(book: Path | None) -> None:
    """Store the book without encryption.

    \b
    Example: spkver book decrypt
    """
    from spkver.verify import upkeep, vault

    upkeep.decrypt(voices.place(book))
    click.echo(f"not encrypted any more; unset {vault.KEY_FILE}")


@command.command(name="map")
@click.argument("old", type=inputs.FILE, metavar="EMBEDDINGS_OLD")
@click.argument("new", type=inputs.FILE, metavar="EMBEDDINGS_NEW")
@click.argument("out", type=outputs.FILE)
def learn(old: Path, new: Path, out: Path) -> None:
    """Learn a map between embeddings of two models.

    Both files have embeddings of the same recordings of labelled speakers. Prints the EER on speakers left out, with
    one recording mapped and the other embedded by the new model. Between models that were trained independently, a map
    loses much accuracy: use the recordings if they were kept.

    \b
    Example: spkver book map old.parquet new.parquet old-to-new.map
    """
    from spkver.embeddings import read_embeddings
    from spkver.verify.moving import learn_map, write_map

    found = learn_map(read_embeddings(old), read_embeddings(new))
    write_map(out, found)
    click.echo(f"{out}: {found.about.in_words()}")


@command.command()
@voices.model
@click.option("--recordings", type=inputs.FILE, help="Data directory or audio pack with the enrolled recordings.")
@click.option("--map", "by", type=inputs.FILE, help="Map for the recordings that are not found (spkver book map).")
@voices.book
def move(model: str | None, recordings: Path | None, by: Path | None, book: Path | None) -> None:
    """Move the book to another model.

    The enrolled recordings that are among --recordings are embedded by the model of --model. A recording is found by
    the hash of its samples, so it must be the same one. The others are mapped by --map; mapped embeddings are marked in
    the book, and `spkver identify` warns of them.

    \b
    Example:
      spkver book move --model exp/new/model --recordings data/enrolled
      spkver book move --map old-to-new.map
    """
    from spkver.verify import moving

    learnt = None if by is None else moving.read_map(by)
    if recordings is None:
        if model is not None:
            raise InputError("--model needs --recordings, which it embeds; a map names its own models")
        done = moving.move(voices.place(book), by=learnt, say=to_stderr)
    else:
        from spkver.source import open_source

        source = open_source(recordings).audio()
        done = moving.move(voices.place(book), verifier=voices.load(model), source=source, by=learnt, say=to_stderr)
    click.echo(f"{done.embedded} recordings embedded again, {done.mapped} mapped")
