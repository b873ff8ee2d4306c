"""The speaker book: people, the embeddings of their recordings, and identification among them.

A book is a directory of mode 0700 with one file of mode 0600 (spkver/verify/bookfile.py). Each row is a recording: the
id is a hash of the audio, the speaker is the person, the embedding has length 1. A book holds no audio and no paths.
Embeddings are still personal data, because they find a person's other recordings. All embeddings come from one model,
whose hash is in the file. People whose last day has passed are never returned, and are removed by the next write.
Does not need torch.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver import lists
from spkver.embeddings import Embeddings, unit
from spkver.errors import InputError
from spkver.files import StrPath, local, locked, recover, require_private, write_private
from spkver.verify import vault
from spkver.verify.bookfile import Contents, Person, Recording, empty, new_key, parse, serialise, today
from spkver.verify.cohort import Cohort, Voices, compare
from spkver.verify.lengths import Lengths

VOICES = "voices.parquet"
PATIENCE = 30.0  # seconds that a writer waits for other writers; a write takes a moment
ODDS = 9.0  # how much more probable the nearest person must be than the runner-up, by the model's calibration
UNKNOWN = "unknown"  # name of a voice that nobody has named, followed by a number

Say = Callable[[str], None]


class Match(NamedTuple):
    """A person of a book and the score: the cosine, or with a cohort the cosine after S-norm."""

    name: str
    score: float


class Answer(NamedTuple):
    """Who of a book speaks.

    name: the nearest person, or None if nobody's score reaches the threshold, or if the answer is ambiguous
    ambiguous: the nearest person's score reaches the threshold, but another person's is almost as high
    margin: the likelihood ratio of the nearest person to the runner-up (natural logarithm); None if there is no
        runner-up or no calibration
    """

    name: str | None
    ambiguous: bool
    margin: float | None


def answer(matches: Sequence[Match], least: float, scale: float | None) -> Answer:
    """The answer for the nearest people, nearest first; at least two of them, if the book has two.

    least: the threshold; scale: of the model's calibration, if any
    """
    if not matches:
        return Answer(None, False, None)
    margin = None if scale is None or len(matches) < 2 else scale * (matches[0].score - matches[1].score)
    accepted = matches[0].score >= least
    ambiguous = accepted and margin is not None and margin < math.log(ODDS)
    return Answer(matches[0].name if accepted and not ambiguous else None, ambiguous, margin)


@dataclass(frozen=True)
class People:
    """The people of a book, each as the mean of their embeddings scaled to length 1."""

    names: list[str]
    voices: Voices
    cohort: Cohort | None = None
    lengths: Lengths | None = None

    def rank(self, vector: np.ndarray, top: int = 1, seconds: float = np.nan) -> list[Match]:
        """The `top` people nearest to an embedding of length 1 (dim,), nearest first.

        seconds: seconds of speech behind the embedding, if known
        """
        if not self.names:
            return []
        test = Voices.of(vector[None], self.cohort, np.array([seconds]))
        scores = compare(self.voices, test, self.lengths)[:, 0]
        most = min(top, len(scores))
        first = np.argpartition(-scores, most - 1)[:most] if most else np.empty(0, np.int64)
        return [Match(self.names[row], float(scores[row])) for row in first[np.argsort(-scores[first], kind="stable")]]


@dataclass(frozen=True)
class Book:
    """A snapshot of a book at the time it was opened, without the people who had expired.

    expired: their names; key: of an encrypted book; hash: the SHA-256 of the file, "" if there is none
    """

    folder: Path
    contents: Contents = field(repr=False)
    expired: tuple[str, ...] = field(default=(), repr=False)
    key: bytes | None = field(default=None, repr=False)  # a printed book shows no person and no key
    hash: str = ""

    def __len__(self) -> int:
        """The number of people."""
        return sum(person.known for person in self.contents.people.values())

    @property
    def voices(self) -> Embeddings:
        """The embeddings of all recordings."""
        return self.contents.voices

    def recordings(self) -> dict[str, int]:
        """The number of recordings of each person, by name in alphabetical order."""
        return dict(sorted((name, count) for name, count in self._counts.items() if self.contents.people[name].known))

    def unknown(self) -> dict[str, int]:
        """The number of recordings of each voice that nobody has named, by number."""
        names = [name for name in self._counts if not self.contents.people[name].known]
        return {name: self._counts[name] for name in sorted(names, key=number_of)}

    def recordings_of(self, name: str) -> int:
        """The number of recordings of a person; 0 for a person who is not in the book."""
        return self.contents.names.count(normal(name))

    def person(self, name: str) -> Person:
        """What the book holds about a person. Raises InputError for a name that is not in the book."""
        found = self.contents.people.get(normal(name))
        if found is None:
            raise InputError(f"{self.folder}: '{name}' is not in the book; `spkver speakers` lists the names")
        return found

    def about(self, name: str) -> dict[str, Any]:
        """Everything that the book holds about a person, for JSON. Raises InputError as `person`."""
        facts, name = asdict(self.person(name)), normal(name)
        rows = [row for row, speaker in enumerate(self.contents.names) if speaker == name]
        recordings = [
            {"id": self.voices.ids[row]}
            | asdict(self.contents.recordings[row])
            | {"embedding": self.voices.vectors[row].tolist()}
            for row in rows
        ]
        return _for_json({"name": name} | facts | {"model": self.voices.model, "recordings": recordings})

    def people(self, cohort: Cohort | None = None, lengths: Lengths | None = None, *, known: bool = True) -> People:
        """All people in alphabetical order, for comparison with `cohort` and corrected for `lengths` if given.

        known: False for the voices that nobody has named instead
        """
        stored, every = self.contents.people, np.array(self.contents.names, object)
        own = np.flatnonzero([stored[name].known == known for name in every])
        if not len(own):
            return People([], Voices(np.empty((0, 0), np.float32)))
        from scipy.sparse import csr_matrix  # takes a while to load

        names, rows = _alphabetical(every[own].tolist())
        of_each = csr_matrix((np.ones(len(own), np.float32), (rows, np.arange(len(own)))), shape=(len(names), len(own)))
        means = unit(of_each @ self.voices.vectors[own], names, "mean embedding")
        spoken = np.array([self.contents.recordings[row].seconds for row in own], np.float64)  # None is NaN
        return People(names, Voices.of(means, cohort, of_each @ spoken), cohort, lengths)

    def require(self, model: str) -> None:
        """Raises InputError if the book was made with another model than the one with this hash."""
        if len(self.voices) and self.voices.model != model:
            raise InputError(
                f"{self.folder}: this book was made with the model {self.voices.model}, not with {model}: "
                "give that model with --model, or move the book to the other with `spkver book move`"
            )

    @property
    def _counts(self) -> Counter[str]:
        return Counter(self.contents.names)


def default_book() -> Path:
    """The default book, in the user's data directory."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "spkver" / "book"


def open_book(folder: StrPath, *, plain: bool = False) -> Book:
    """Read a book; an empty book if there is none.

    plain: accept a book that is not encrypted although there is a key
    Raises InputError if other users can access it, and for an encrypted book without its key (see `vault`).
    """
    root = local(folder)
    path = root / VOICES
    if root.exists():
        _require_folder(root)
    if not path.exists():
        return Book(root, empty(), key=vault.default_key())
    require_private(path)
    content = read(path)
    key = vault.default_key()
    contents = _decoded(content, key, path, plain)
    day = today()
    expired = tuple(name for name, person in contents.people.items() if person.expired(day))
    return Book(root, contents.erase(expired), expired, key, hashlib.sha256(content).hexdigest())


def read(path: Path) -> bytes:
    """The bytes of a file. Raises InputError if it cannot be read."""
    with lists.reading(path, "a file that can be read"):
        return path.read_bytes()


def _decoded(content: bytes, key: bytes | None, path: Path, plain: bool) -> Contents:
    if vault.sealed(content):
        if key is None:
            raise InputError(f"{path}: encrypted: set the environment variable {vault.KEY_FILE} to the file of its key")
        content = vault.unseal(content, key, path)
    elif key is not None and not plain:
        raise InputError(
            f"{path}: not encrypted, although {vault.KEY_FILE} is set: run `spkver book encrypt`, or unset it"
        )
    return parse(content, path)


def enrol(
    folder: StrPath,
    name: str,
    recordings: Embeddings,
    *,
    seconds: Sequence[float] | None = None,
    session: str = "",
    purpose: str = "",
    until: date | None = None,
    say: Say | None = None,
) -> Book:
    """Add recordings to a new or known person and return the new book. Creates the book if there is none.

    recordings: their ids are hashes of the audio; recordings that the person already has are skipped
    seconds: of speech of each recording; session: a label of the device or occasion
    purpose, until: what the person agrees to today, and the last day that the person may be kept
    say: called with a message while waiting for another process that writes the book, and about people who expired
    Raises InputError for an invalid name, a recording of another person, a book of another model, and if other writers
    do not finish in time.
    """
    name, session, purpose, day = checked(name), _plain(session, "session"), _plain(purpose, "purpose"), today()
    require_future(until)
    with edited(folder, say, make=True) as book:
        book.require(recordings.model)
        old = book.contents
        owner = dict(zip(old.voices.ids, old.names))
        for one in recordings.ids:
            if owner.get(one, name) != name:
                raise InputError(f"one of the recordings of '{name}' is already enrolled as '{owner[one]}'")
        person = old.people.get(name) or Person(new_key(), day)
        if purpose or until:
            person = replace(person, purpose=purpose or person.purpose, consented=day, until=until or person.until)
        rows = [row for row, one in enumerate(recordings.ids) if one not in owner]
        new = replace(
            recordings,
            ids=[recordings.ids[row] for row in rows],
            vectors=recordings.vectors[rows],
            speakers=None,
        )
        spoken = [None if seconds is None else float(seconds[row]) for row in rows]
        return write(book, old.add(name, person, new, [Recording(day, session, one) for one in spoken]))


def name_voice(
    folder: StrPath, old: str, new: str, *, purpose: str = "", until: date | None = None, say: Say | None = None
) -> Book:
    """Name a voice that nobody has named, or rename a person. An unnamed voice can be added to a person of the book.

    Other arguments are those of `enrol`. Raises InputError if `old` is not in the book, or `new` is another person.
    """
    new, purpose, day = checked(new), _plain(purpose, "purpose"), today()
    require_future(until)
    with edited(folder, say) as book:
        person, old, contents = book.person(old), normal(old), book.contents
        there = contents.people.get(new)
        if there is not None and person.known:
            raise InputError(f"{folder}: '{new}' is already in the book; two people cannot have one name")
        agreed = bool(purpose or until)
        until = until or (there.until if there else person.until if person.known else None)
        named = replace(there or person, known=True, until=until)
        if agreed:
            named = replace(named, purpose=purpose or named.purpose, consented=day)
        hashed = [] if there is None else [contents.hashed(person)]  # the voice no longer exists by itself
        people = {name: one for name, one in contents.people.items() if name != old} | {new: named}
        speakers = [new if name == old else name for name in contents.names]
        voices = replace(contents.voices, speakers=speakers)
        return write(book, replace(contents, voices=voices, people=people, erased=[*contents.erased, *hashed]))


def expire(folder: StrPath, *, say: Say | None = None) -> list[str]:
    """Remove the people whose last day has passed, and return their names. Every other write does it, too."""
    with edited(folder, say) as book:
        write(book, book.contents)
        return list(book.expired)


@dataclass(frozen=True)
class Removed:
    """A person who was removed: number of recordings, and the SHA-256 of their ids, sorted, one a line."""

    name: str
    recordings: int
    ids: str


@dataclass(frozen=True)
class Receipt:
    """What was removed from a book. before, after: the SHA-256 of its file; left: the number of people left."""

    removed: list[Removed]
    day: date
    before: str
    after: str
    left: int

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return _for_json(asdict(self))


def forget(folder: StrPath, names: Sequence[str], *, say: Say | None = None) -> Receipt:
    """Remove people from a book.

    say: as for `enrol`. Raises InputError for a name that is not in the book; the book is then unchanged.
    """
    with edited(folder, say) as book:
        for name in names:
            book.person(name)
        gone = list(dict.fromkeys(map(normal, names)))
        removed = []
        for name in gone:
            ids = sorted(one for one, speaker in zip(book.voices.ids, book.contents.names) if speaker == name)
            removed.append(Removed(name, len(ids), hashlib.sha256("\n".join(ids).encode()).hexdigest()))
        after = write(book, book.contents.erase(gone))
        return Receipt(removed, today(), book.hash, after.hash, len(after))


@contextmanager
def edited(folder: StrPath, say: Say | None, *, plain: bool = False, make: bool = False) -> Iterator[Book]:
    """The locked book for one writer; removes what a killed writer left behind.

    plain: as for `open_book`; make: make a book if there is none
    Raises InputError if there is none and `make` is false.
    """
    root = local(folder)
    if not root.exists():
        if not make:
            raise InputError(f"{root}: there is no book")
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
    _require_folder(root)
    with locked(root, patience=PATIENCE, say=say):
        recover(root)
        book = open_book(root, plain=plain)
        if book.expired and say is not None:
            say(f"{root}: people who have expired and are removed: {len(book.expired)}")
        yield book


def _require_folder(root: Path) -> None:
    """Raises InputError for a file, and for a directory that other users can access."""
    if not root.is_dir():
        raise InputError(f"{root}: a file; a speaker book is a directory")
    require_private(root)


def write(book: Book, contents: Contents) -> Book:
    """Replace the contents of a book that `edited` gave. Without a change, nothing is written."""
    if contents is book.contents and not book.expired:
        return book
    content = serialise(contents)
    if book.key is not None:
        content = vault.seal(content, book.key)
    write_private(book.folder / VOICES, content)
    return replace(book, contents=contents, expired=(), hash=hashlib.sha256(content).hexdigest())


def require_future(until: date | None) -> None:
    """Raises InputError for a last day that has passed."""
    if until is not None and until < today():
        raise InputError(f"{until}: this last day has passed; give a later day")


def number_of(name: str) -> int:
    """The number of a voice that nobody has named, `unknown 3`; 0 for other names."""
    found = re.fullmatch(rf"{UNKNOWN} ([1-9][0-9]*)", name)
    return int(found[1]) if found else 0


def checked(name: str) -> str:
    """The name of a person as stored in the book. Raises InputError for an invalid name."""
    name = normal(name)
    if not name or not name.isprintable():
        raise InputError(f"{name!r}: a name must not be empty or contain control characters")
    if number_of(name):
        raise InputError(f"{name!r}: reserved for unnamed voices; choose another name")
    return name


def normal(name: str) -> str:
    """One spelling for names that look the same."""
    return unicodedata.normalize("NFC", name.strip())


def _plain(text: str, what: str) -> str:
    """A label as stored in the book."""
    text = normal(text)
    if not text.isprintable():
        raise InputError(f"{text!r}: the {what} must not contain control characters")
    return text


def _for_json(value: Any) -> Any:
    """A value with dates as text."""
    if isinstance(value, dict):
        return {key: _for_json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_for_json(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value


def _alphabetical(words: list[str]) -> tuple[list[str], np.ndarray]:
    """The distinct words in alphabetical order, and the position of each word in that list."""
    column = pa.array(words, pa.string()).dictionary_encode()
    order = pc.array_sort_indices(column.dictionary).to_numpy()
    return column.dictionary.take(pa.array(order)).to_pylist(), np.argsort(order)[column.indices.to_numpy()]
