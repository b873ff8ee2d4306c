"""The speaker book: people and the embeddings of their recordings, and who of them is heard.

A book is a directory of mode 0700 with one embeddings file of mode 0600, a row for each recording: its id a hash of the
audio, its speaker the person, its embedding at length 1. It holds no audio and no paths, but an embedding is personal
data all the same: it finds a person's other recordings. All embeddings are of one model, whose hash the file names.
Needs no torch.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.errors import InputError
from spkver.files import StrPath, locked, recover
from spkver.scoring.cosine import unit
from spkver.verify.cohort import Cohort, Voices, compare, compare_pairs
from spkver.verify.decision import Rate

VOICES = "voices.parquet"
PATIENCE = 30.0  # seconds that a writer waits for others, each of which writes for a moment

Say = Callable[[str], None]


class Match(NamedTuple):
    """A person of a book, and the score with what was heard: the cosine, or that normalised by a cohort."""

    name: str
    score: float


@dataclass(frozen=True)
class People:
    """The people of a book: the mean of the embeddings of each, at length 1, ready to be compared."""

    names: list[str]
    voices: Voices
    cohort: Cohort | None = None

    def rank(self, vector: np.ndarray, top: int = 1) -> list[Match]:
        """Those nearest to an embedding of length 1 (dim,), the nearest first."""
        if not self.names:
            return []
        scores = compare(self.voices, Voices.of(vector[None], self.cohort))[:, 0]
        most = min(top, len(scores))
        first = np.argpartition(-scores, most - 1)[:most] if most else np.empty(0, np.int64)
        return [Match(self.names[row], float(scores[row])) for row in first[np.argsort(-scores[first], kind="stable")]]


class Book:
    """A book's voices as they were when it was opened; `people` are ready to be compared."""

    def __init__(self, folder: StrPath, voices: Embeddings | None) -> None:
        self.folder = Path(folder)
        self.voices = voices

    def __len__(self) -> int:
        """The number of people."""
        return len(self.recordings())

    def recordings(self) -> dict[str, int]:
        """How many recordings there are of each person, by name in alphabetical order."""
        return dict(sorted(Counter(self._speakers).items()))

    def recordings_of(self, name: str) -> int:
        """How many recordings there are of a person, 0 for one who is not in the book."""
        return self._speakers.count(_normal(name))

    def people(self, cohort: Cohort | None = None) -> People:
        """Everybody, in alphabetical order, to be compared by a cohort where there is one."""
        if self.voices is None:
            return People([], Voices(np.empty((0, 0), np.float32)))
        from scipy.sparse import csr_matrix  # takes a while to load

        names, rows = _alphabetical(self._speakers)
        of_each = csr_matrix(
            (np.ones(len(rows), np.float32), (rows, np.arange(len(rows)))), shape=(len(names), len(rows))
        )
        means = unit(of_each @ self.voices.vectors, names, "mean embedding")
        return People(names, Voices.of(means, cohort), cohort)

    def require(self, model: str) -> None:
        """Raises InputError where the book was made with another model than the one of this hash."""
        if self.voices is not None and self.voices.model != model:
            raise InputError(
                f"{self.folder}: this book was made with the model {self.voices.model}, not with {model}: "
                "give that model by --model, or another place by --book and enrol anew"
            )

    @property
    def _speakers(self) -> list[str]:
        return [] if self.voices is None else self.voices.speakers or []


def default_book() -> Path:
    """Where the book is unless told otherwise: below the user's data directory."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "spkver" / "book"


def open_book(folder: StrPath) -> Book:
    """Read a book; an empty one where there is none. Raises InputError for one that others than its owner can read."""
    root = Path(folder)
    if not root.exists():
        return Book(root, None)
    _require_private(root)
    voices = root / VOICES
    if not voices.exists():
        return Book(root, None)
    _require_private(voices)
    found = read_embeddings(voices)
    if found.speakers is None or not all(found.speakers):
        raise InputError(f"{voices}: not a speaker book: there are recordings of nobody")
    return Book(root, found)


def enrol(folder: StrPath, name: str, recordings: Embeddings, *, say: Say | None = None) -> Book:
    """Add recordings to a person, who may be new; returns the book as it is then. Makes the book where there is none.

    recordings: their ids the hashes of the audio. Those that the person has already are left as they are.
    say: is told when another process writes the book, which is waited for
    Raises InputError for a name that cannot be one, a recording that is another person's, a book of another model, and
    one that others write for too long.
    """
    name = checked(name)
    with _edited(folder, say) as book:
        book.require(recordings.model)
        old = book.voices
        owner = {} if old is None else dict(zip(old.ids, old.speakers or []))
        new = [row for row, one in enumerate(recordings.ids) if one not in owner]
        for one in recordings.ids:
            if owner.get(one, name) != name:
                raise InputError(f"one of the recordings of '{name}' is enrolled as '{owner[one]}' already")
        if not new:
            return book
        ids = [recordings.ids[row] for row in new]
        vectors = unit(recordings.vectors[new], ids, "embedding")
        speakers = [name] * len(new)
        if old is not None:
            ids, speakers = old.ids + ids, (old.speakers or []) + speakers
            vectors = np.concatenate([old.vectors, vectors])
        return _write(folder, Embeddings(ids, vectors, speakers, recordings.model, recordings.front_end))


def forget(folder: StrPath, names: Sequence[str], *, say: Say | None = None) -> Book:
    """Take people out of a book, which is written anew without them; returns the book as it is then.

    say: as for `enrol`. Raises InputError for a name that is not in it.
    """
    with _edited(folder, say) as book:
        known = book.recordings()
        for name in names:
            if _normal(name) not in known:
                raise InputError(f"{folder}: '{name}' is not in the book; `spkver speakers` lists who is")
        assert book.voices is not None
        gone = set(map(_normal, names))
        kept = [row for row, speaker in enumerate(book.voices.speakers or []) if speaker not in gone]
        if not kept:
            (Path(folder) / VOICES).unlink()
            return Book(folder, None)
        old = book.voices
        return _write(
            folder,
            Embeddings(
                [old.ids[row] for row in kept],
                old.vectors[kept],
                [(old.speakers or [])[row] for row in kept],
                old.model,
                old.front_end,
            ),
        )


def odd(book: Book, name: str, threshold: float, cohort: Cohort | None = None) -> list[str]:
    """What is odd about a person of a book, one line each: unlike recordings, and somebody else who sounds alike."""
    name = _normal(name)
    found = []
    if book.voices is not None:
        own = book.voices.vectors[np.array(book.voices.speakers) == name]
        if len(own) > 1:
            others = unit(own.sum(axis=0) - own, [name] * len(own), "mean of the other embeddings")
            apart = compare_pairs(Voices.of(own, cohort), Voices.of(others, cohort)) < threshold
            if apart.any():
                which = f"{apart.sum()} of {len(own)}" if len(own) > 2 else "the two"
                what = "the others" if len(own) > 2 else "each other"
                found.append(f"{which} recordings of '{name}' sound unlike {what}")
    people, what = book.people(cohort), "cosine" if cohort is None else "score"
    if name in people.names:
        ranked = people.rank(people.voices.vectors[people.names.index(name)], 2)
        found += [
            f"'{match.name}', who is in the book already, sounds like '{name}' ({what} {match.score:.2f})"
            for match in ranked
            if match.name != name and match.score >= threshold
        ]
    return found


def strangers(people: int, far: Rate) -> list[str]:
    """What a false-accept rate per pair comes to with so many people, where it is no longer small.

    A rate of which no error was seen counts as the end of its interval.
    """
    rate, bound = (far.rate, "") if far.errors else (far.high, "up to ")
    share = 1 - (1 - rate) ** people
    if share < 0.1:
        return []
    return [
        f"at {bound}{100 * rate:.2g} % false accepts a pair, {bound}{100 * share:.0f} % of strangers are taken for one "
        f"of {people:,} people; measure a threshold for a lower rate (spkver threshold --far), on more trials"
    ]


@contextmanager
def _edited(folder: StrPath, say: Say | None) -> Iterator[Book]:
    """The book, for one writer at a time, without what a writer that was killed has left behind."""
    root = Path(folder)
    root.parent.mkdir(parents=True, exist_ok=True)
    root.mkdir(mode=0o700, exist_ok=True)
    _require_private(root)
    with locked(root, patience=PATIENCE, say=say):
        recover(root)
        yield open_book(root)


def _write(folder: StrPath, voices: Embeddings) -> Book:
    write_embeddings(Path(folder) / VOICES, voices, mode=0o600)
    return Book(folder, voices)


def _require_private(path: Path) -> None:
    if os.name != "posix":
        return
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise InputError(f"{path}: belongs to another user; choose another place by --book")
    if status.st_mode & 0o077:
        mode = "700" if path.is_dir() else "600"
        raise InputError(f"{path}: others than its owner can open it, and voices are personal: chmod {mode} {path}")


def _alphabetical(words: list[str]) -> tuple[list[str], np.ndarray]:
    """The words without repetition in alphabetical order, and the place of each word in it."""
    column = pa.array(words, pa.string()).dictionary_encode()
    order = pc.array_sort_indices(column.dictionary).to_numpy()
    return column.dictionary.take(pa.array(order)).to_pylist(), np.argsort(order)[column.indices.to_numpy()]


def checked(name: str) -> str:
    """A name as the book has it. Raises InputError for one that cannot be."""
    name = _normal(name)
    if not name or not name.isprintable():
        raise InputError(f"{name!r}: a name has letters, and neither tabs nor line ends")
    return name


def _normal(name: str) -> str:
    """One spelling for names that look the same."""
    return unicodedata.normalize("NFC", name.strip())
