"""The speaker book: people, the embeddings of their recordings, and identification among them.

A book is a directory of mode 0700 with one embeddings file of mode 0600. Each row is a recording: the id is a hash of
the audio, the speaker is the person, the embedding has length 1. A book holds no audio and no paths. Embeddings are
still personal data, because they find a person's other recordings. All embeddings come from one model, whose hash is in
the file. Does not need torch.
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

from spkver.embeddings import Embeddings, read_embeddings, unit, write_embeddings
from spkver.errors import InputError
from spkver.files import StrPath, local, locked, recover
from spkver.verify.cohort import Cohort, Voices, compare, compare_pairs
from spkver.verify.decision import Rate
from spkver.verify.lengths import Lengths

VOICES = "voices.parquet"
PATIENCE = 30.0  # seconds that a writer waits for other writers; a write takes a moment

Say = Callable[[str], None]


class Match(NamedTuple):
    """A person of a book and the score: the cosine, or with a cohort the cosine after S-norm."""

    name: str
    score: float


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


class Book:
    """A snapshot of a book at the time it was opened."""

    def __init__(self, folder: StrPath, voices: Embeddings | None) -> None:
        self.folder = local(folder)
        self.voices = voices

    def __len__(self) -> int:
        """The number of people."""
        return len(self.recordings())

    def recordings(self) -> dict[str, int]:
        """The number of recordings of each person, by name in alphabetical order."""
        return dict(sorted(Counter(self._speakers).items()))

    def recordings_of(self, name: str) -> int:
        """The number of recordings of a person; 0 for a person who is not in the book."""
        return self._speakers.count(_normal(name))

    def people(self, cohort: Cohort | None = None, lengths: Lengths | None = None) -> People:
        """All people in alphabetical order, for comparison with `cohort` and corrected for `lengths` if given."""
        if self.voices is None:
            return People([], Voices(np.empty((0, 0), np.float32)))
        from scipy.sparse import csr_matrix  # takes a while to load

        names, rows = _alphabetical(self._speakers)
        of_each = csr_matrix(
            (np.ones(len(rows), np.float32), (rows, np.arange(len(rows)))), shape=(len(names), len(rows))
        )
        means = unit(of_each @ self.voices.vectors, names, "mean embedding")
        return People(names, Voices.of(means, cohort), cohort, lengths)

    def require(self, model: str) -> None:
        """Raises InputError if the book was made with another model than the one with this hash."""
        if self.voices is not None and self.voices.model != model:
            raise InputError(
                f"{self.folder}: this book was made with the model {self.voices.model}, not with {model}: "
                "give that model with --model, or enrol again in a new book with --book"
            )

    @property
    def _speakers(self) -> list[str]:
        return [] if self.voices is None else self.voices.speakers or []


def default_book() -> Path:
    """The default book, in the user's data directory."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "spkver" / "book"


def open_book(folder: StrPath) -> Book:
    """Read a book; an empty book if there is none. Raises InputError if other users can access it."""
    root = local(folder)
    if not root.exists():
        return Book(root, None)
    _require_private(root)
    voices = root / VOICES
    if not voices.exists():
        return Book(root, None)
    _require_private(voices)
    found = read_embeddings(voices)
    if found.speakers is None or not all(found.speakers):
        raise InputError(f"{voices}: not a speaker book: some recordings have no speaker")
    return Book(root, found)


def enrol(folder: StrPath, name: str, recordings: Embeddings, *, say: Say | None = None) -> Book:
    """Add recordings to a new or known person and return the new book. Creates the book if there is none.

    recordings: their ids are hashes of the audio; recordings that the person already has are skipped
    say: called with a message while waiting for another process that writes the book
    Raises InputError for an invalid name, a recording of another person, a book of another model, and if other writers
    do not finish in time.
    """
    name = checked(name)
    with _edited(folder, say) as book:
        book.require(recordings.model)
        old = book.voices
        owner = {} if old is None else dict(zip(old.ids, old.speakers or []))
        new = [row for row, one in enumerate(recordings.ids) if one not in owner]
        for one in recordings.ids:
            if owner.get(one, name) != name:
                raise InputError(f"one of the recordings of '{name}' is already enrolled as '{owner[one]}'")
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
    """Remove people from a book and return the new book.

    say: as for `enrol`. Raises InputError for a name that is not in the book.
    """
    with _edited(folder, say) as book:
        known = book.recordings()
        for name in names:
            if _normal(name) not in known:
                raise InputError(f"{folder}: '{name}' is not in the book; `spkver speakers` lists the names")
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
    """Warnings about a person of a book: recordings that differ, and other people who sound like this one."""
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
            f"'{match.name}', who is already in the book, sounds like '{name}' ({what} {match.score:.2f})"
            for match in ranked
            if match.name != name and match.score >= threshold
        ]
    return found


def strangers(people: int, far: Rate) -> list[str]:
    """Warning if a stranger is accepted as one of `people` with a probability of 0.1 or more.

    far: false-accept rate of one comparison. If no error was observed, the upper end of its interval is used.
    """
    rate, bound = (far.rate, "") if far.errors else (far.high, "up to ")
    share = 1 - (1 - rate) ** people
    if share < 0.1:
        return []
    return [
        f"at a false-accept rate of {bound}{100 * rate:.2g} % per pair, {bound}{100 * share:.0f} % of strangers are "
        f"accepted as one of {people:,} people; choose a lower rate (spkver threshold --far) on more trials"
    ]


@contextmanager
def _edited(folder: StrPath, say: Say | None) -> Iterator[Book]:
    """The locked book for one writer; removes what a killed writer left behind."""
    root = local(folder)
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
        raise InputError(f"{path}: belongs to another user; choose another directory with --book")
    if status.st_mode & 0o077:
        mode = "700" if path.is_dir() else "600"
        raise InputError(f"{path}: other users can access this personal data: run chmod {mode} {path}")


def _alphabetical(words: list[str]) -> tuple[list[str], np.ndarray]:
    """The distinct words in alphabetical order, and the position of each word in that list."""
    column = pa.array(words, pa.string()).dictionary_encode()
    order = pc.array_sort_indices(column.dictionary).to_numpy()
    return column.dictionary.take(pa.array(order)).to_pylist(), np.argsort(order)[column.indices.to_numpy()]


def checked(name: str) -> str:
    """A name as stored in the book. Raises InputError for an invalid name."""
    name = _normal(name)
    if not name or not name.isprintable():
        raise InputError(f"{name!r}: a name must not be empty or contain control characters")
    return name


def _normal(name: str) -> str:
    """One spelling for names that look the same."""
    return unicodedata.normalize("NFC", name.strip())
