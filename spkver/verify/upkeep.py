"""Upkeep of a speaker book: export of what it holds about a person, backups, encryption. Does not need torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from spkver.errors import InputError
from spkver.files import StrPath, local, write_private
from spkver.verify import vault
from spkver.verify.book import VOICES, Book, Say, edited, open_book, read, write
from spkver.verify.bookfile import parse, today


def export(folder: StrPath, name: str, out: StrPath) -> int:
    """Write everything that a book holds about a person as JSON, for its owner only; returns the recordings.

    Raises InputError for a name that is not in the book.
    """
    held = open_book(folder).about(name)
    text = json.dumps(held | {"exported": today().isoformat()}, indent=2, ensure_ascii=False)
    write_private(out, f"{text}\n".encode())
    return len(held["recordings"])


def backup(folder: StrPath, out: StrPath) -> Book:
    """Copy the file of a book, encrypted if it is, and return the book. Raises InputError if it cannot be read."""
    book = open_book(folder)
    if not book.hash:
        raise InputError(f"{folder}: there is no book")
    write_private(out, read(book.folder / VOICES))
    return book


@dataclass(frozen=True)
class Restored:
    """people: in the book now; left_out: people of the backup who were removed from the book since, or expired."""

    people: int
    left_out: int


def restore(folder: StrPath, backup: StrPath, *, key: StrPath | None = None, say: Say | None = None) -> Restored:
    """Replace the contents of a book by a backup, without the people who were removed from the book since.

    key: file of the key of the backup, if it is another than the book's; say: as for `book.enrol`
    Raises InputError, and leaves the book unchanged, if one of them cannot be read.
    """
    content, secret = read(local(backup)), vault.default_key() if key is None else vault.read_key(key)
    if vault.sealed(content):
        if secret is None:
            raise InputError(f"{backup}: encrypted: give the file of its key with --key")
        content = vault.unseal(content, secret, backup)
    stored, day = parse(content, backup), today()
    with edited(folder, say, make=True) as book:
        now = book.contents if book.hash else replace(book.contents, salt=stored.salt)
        people = {
            name: person
            for name, person in stored.people.items()
            if now.hashed(person) not in now.erased and not person.expired(day)
        }
        erased = {*now.erased, *(stored.erased if stored.salt == now.salt else [])}
        contents = replace(stored.only(lambda name: name in people), salt=now.salt, erased=sorted(erased))
        after = write(book, contents)
        return Restored(len(after), len(stored.people) - len(people))


def encrypt(folder: StrPath, key: StrPath) -> Book:
    """Encrypt a book with the key in a file, which is made if there is none; or change the key of an encrypted book.

    Raises InputError for an encrypted book if SPKVER_BOOK_KEY does not name its present key.
    """
    if Path(key).resolve().is_relative_to(local(folder).resolve()):
        raise InputError(f"{key}: keep the key outside the folder of the book")
    secret = vault.make_key(key)
    with edited(folder, None, plain=True) as book:
        return write(replace(book, key=secret), replace(book.contents))


def decrypt(folder: StrPath) -> Book:
    """Store a book without encryption. Raises InputError if SPKVER_BOOK_KEY does not name its key."""
    with edited(folder, None) as book:
        return write(replace(book, key=None), replace(book.contents))
