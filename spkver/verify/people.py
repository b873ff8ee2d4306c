"""Enrol people in a speaker book from recordings, and find who of the book speaks in a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spkver.audio import File
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.progress import bar
from spkver.verify.book import Book, Match, Say, checked, enrol, odd, open_book
from spkver.verify.model import Verifier, embeddings_of


@dataclass(frozen=True)
class Enrolled:
    """A person after enrolment: recordings in the book, how many of them are new, and warnings, one line each."""

    name: str
    recordings: int
    new: int
    doubts: list[str]


def enrol_recordings(
    verifier: Verifier,
    folder: StrPath,
    name: str,
    files: Sequence[File],
    *,
    channel: int | None = None,
    say: Say | None = None,
) -> Enrolled:
    """Add recordings of a new or known person to the book in `folder`.

    channel: channel of multi-channel files (0-based); say: as for `book.enrol`
    Raises InputError as `book.enrol` and `Verifier.listen` do; the book is then unchanged.
    """
    name, before = checked(name), open_book(folder)
    before.require(verifier.model_id)
    heard = [
        verifier.listen(file, channel=channel)
        for file in bar(total=len(files), what="enrol", unit="file", iterable=files)
    ]
    after = enrol(folder, name, embeddings_of(verifier, heard), say=say)
    doubts = [doubt for one in heard for doubt in one.doubts]
    if verifier.decision is not None:
        doubts += odd(after, name, verifier.decision.threshold, verifier.cohort)
    count = after.recordings_of(name)
    return Enrolled(name, count, count - before.recordings_of(name), doubts)


@dataclass(frozen=True)
class Identified:
    """The result of an identification.

    name: the nearest person of the book, or None if the score is below the threshold
    candidates: the nearest people, nearest first; doubts: warnings, one line each
    """

    file: str
    name: str | None
    threshold: float
    candidates: list[Match]
    doubts: list[str]

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return vars(self) | {"candidates": [match._asdict() for match in self.candidates]}


def identify(
    verifier: Verifier,
    book: Book,
    files: Sequence[File],
    *,
    threshold: float | None = None,
    top: int = 1,
    channel: int | None = None,
) -> list[Identified]:
    """Find the person of the book who speaks in each recording, if any.

    threshold: replaces the model's; top: number of candidates; channel: channel of multi-channel files (0-based)
    Raises InputError for an empty book, a book of another model, and without a threshold.
    """
    if not len(book):
        raise InputError(f"{book.folder}: the book is empty; add people with spkver enrol NAME FILES")
    book.require(verifier.model_id)
    least = verifier.required_threshold(threshold)
    people = book.people(verifier.cohort, verifier.lengths)
    found = []
    for file in bar(total=len(files), what="identify", unit="file", iterable=files):
        heard = verifier.listen(file, channel=channel)
        matches = people.rank(heard.vector, top, heard.seconds)
        name = matches[0].name if matches[0].score >= least else None
        found.append(Identified(str(file), name, least, matches, heard.doubts))
    return found
