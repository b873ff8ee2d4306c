"""The file of a speaker book, and what it holds about each person, as plain data.

The file is an embeddings file (spkver/embeddings.py) with more columns about the recordings. Facts about the people are
in its metadata. If it is encrypted, the whole file is (spkver/verify/vault.py). Files of format 1 have no such facts.
Does not need torch.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from spkver import lists
from spkver.embeddings import FORMAT, METADATA, Embeddings, metadata_of, parse_embeddings, table_of, unit
from spkver.errors import InputError
from spkver.files import StrPath

_WHAT = "the file of a speaker book"
_COLUMNS = {"enrolled": pa.date32(), "session": pa.string(), "seconds": pa.float32(), "mapped": pa.bool_()}


@dataclass(frozen=True)
class Recording:
    """What a book holds about a recording.

    session: a label of the device or occasion; seconds: of speech; None and "" if unknown
    mapped: whether the embedding was mapped from that of another model
    """

    enrolled: date | None = None
    session: str = ""
    seconds: float | None = None
    mapped: bool = False


@dataclass(frozen=True)
class Person:
    """What a book holds about a person.

    key: random, so that a hash of it can be kept after the person is removed
    purpose, consented: what the person agreed to, and when; until: the last day that the person may be kept
    known: False for a voice that nobody has named
    """

    key: str
    created: date | None = None
    purpose: str = ""
    consented: date | None = None
    until: date | None = None
    known: bool = True

    def expired(self, day: date) -> bool:
        """Whether the last day has passed."""
        return self.until is not None and day > self.until


@dataclass(frozen=True)
class Contents:
    """What a book holds.

    voices: one embedding of length 1 for each recording; speakers: their names
    recordings: in the order of `voices`; people: by name
    salt, erased: salted hashes of the keys of people who were removed, so that a backup does not bring them back
    mapped: how embeddings were mapped from those of another model, in words; "" if all are the model's own
    """

    voices: Embeddings
    recordings: list[Recording] = field(default_factory=list)
    people: dict[str, Person] = field(default_factory=dict)
    salt: str = ""
    erased: list[str] = field(default_factory=list)
    mapped: str = ""

    @property
    def names(self) -> list[str]:
        """The name of each recording's person."""
        return self.voices.speakers or []

    def only(self, keep: Callable[[str], bool]) -> Contents:
        """Without the people whose name `keep` rejects."""
        rows = [row for row, name in enumerate(self.names) if keep(name)]
        if len(rows) == len(self.names):
            return self
        voices = self.voices
        left = replace(
            voices,
            ids=[voices.ids[row] for row in rows],
            vectors=voices.vectors[rows],
            speakers=[self.names[row] for row in rows],
        )
        people = {name: person for name, person in self.people.items() if keep(name)}
        return replace(self, voices=left, recordings=[self.recordings[row] for row in rows], people=people)

    def add(self, name: str, person: Person, voices: Embeddings, recordings: list[Recording]) -> Contents:
        """With more recordings of a person. Raises InputError for an embedding of zeros."""
        people = self.people | {name: person}
        if not len(voices):
            return self if people == self.people else replace(self, people=people)
        vectors, old = unit(voices.vectors, voices.ids, "embedding"), self.voices
        if len(old):
            vectors = np.concatenate([old.vectors, vectors])
        speakers = self.names + [name] * len(voices)
        joined = replace(voices, ids=old.ids + voices.ids, vectors=vectors, speakers=speakers)
        return replace(self, voices=joined, recordings=self.recordings + recordings, people=people)

    def erase(self, names: Collection[str]) -> Contents:
        """Without these people, whose keys are remembered as hashes."""
        gone = set(names)
        if not gone:
            return self
        erased = [self.hashed(self.people[name]) for name in gone]
        return replace(self.only(lambda name: name not in gone), erased=sorted({*self.erased, *erased}))

    def hashed(self, person: Person) -> str:
        """The salted hash of a person's key."""
        return hashlib.blake2b(person.key.encode(), key=bytes.fromhex(self.salt), digest_size=16).hexdigest()


@dataclass(frozen=True)
class _Facts:
    """The part of `Contents` that is in the metadata."""

    people: dict[str, Person]
    salt: str
    erased: list[str]
    mapped: str


_FACTS = TypeAdapter(_Facts)


def empty() -> Contents:
    """The contents of a new book."""
    return Contents(Embeddings([], np.empty((0, 1), np.float32), []), salt=secrets.token_hex(16))


def new_key() -> str:
    """A key for a new person."""
    return secrets.token_hex(16)


def today() -> date:
    """The day by which people expire, in UTC."""
    return datetime.now(timezone.utc).date()


def parse(content: bytes, path: StrPath) -> Contents:
    """The contents of a file that is not encrypted. Raises InputError naming the file if it is not valid."""
    with lists.reading(path, _WHAT), pq.ParquetFile(pa.BufferReader(content)) as file:
        voices, about = parse_embeddings(file, path), metadata_of(file, path)
        columns = file.read([name for name in _COLUMNS if name in file.schema_arrow.names]).to_pydict()
    names = voices.speakers or []
    if len(names) != len(voices) or not all(names) or voices.times is not None:
        raise InputError(f"{path}: not a speaker book: some recordings have no speaker")
    voices, distinct = replace(voices, speakers=names), dict.fromkeys(names)
    if about.get("format", 1) == 1:  # people have their name as the key
        return replace(
            empty(), voices=voices, recordings=[Recording()] * len(names), people={one: Person(one) for one in distinct}
        )
    try:
        facts = _FACTS.validate_python(about)
        people = {name: facts.people[name] for name in distinct}
        recordings = [Recording(*row) for row in zip(*(columns[name] for name in _COLUMNS), strict=True)]
        bytes.fromhex(facts.salt)
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not {_WHAT} ({' '.join(str(error).split())})") from error
    return Contents(voices, recordings, people, facts.salt, facts.erased, facts.mapped)


def serialise(contents: Contents) -> bytes:
    """The bytes of the file."""
    table = table_of(contents.voices)
    for name, kind in _COLUMNS.items():
        table = table.append_column(name, pa.array([getattr(row, name) for row in contents.recordings], kind))
    facts = _Facts(contents.people, contents.salt, contents.erased, contents.mapped)
    about = json.loads(table.schema.metadata[METADATA]) | {"format": FORMAT} | _FACTS.dump_python(facts, mode="json")
    stream = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata({METADATA: json.dumps(about)}),
        stream,
        use_dictionary=["speaker", "session"],
        compression={name: "zstd" for name in table.column_names if name != "embedding"},
    )
    return bytes(stream.getvalue())
