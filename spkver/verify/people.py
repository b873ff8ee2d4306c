"""Enrol people in a speaker book from recordings, and find who of the book speaks in a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from spkver.audio import File
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.progress import bar
from spkver.verify.advice import odd, remarks, renewals, unlike
from spkver.verify.book import Book, Match, People, Say, answer, checked, enrol, open_book, require_future
from spkver.verify.model import Heard, Verifier, embeddings_of
from spkver.verify.naming import keep_unknown as keep


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
    session: str = "",
    purpose: str = "",
    until: date | None = None,
    say: Say | None = None,
) -> Enrolled:
    """Add recordings of a new or known person to the book in `folder`.

    channel: channel of multi-channel files (0-based); other arguments are those of `book.enrol`
    Raises InputError as `book.enrol` and `Verifier.listen` do; the book is then unchanged.
    """
    checked(name)
    require_future(until)
    open_book(folder).require(verifier.model_id)  # fail early
    heard = [
        verifier.listen(file, channel=channel)
        for file in bar(total=len(files), what="enrol", unit="file", iterable=files)
    ]
    return enrol_heard(verifier, folder, name, heard, session=session, purpose=purpose, until=until, say=say)


def enrol_heard(
    verifier: Verifier,
    folder: StrPath,
    name: str,
    heard: Sequence[Heard],
    *,
    session: str = "",
    purpose: str = "",
    until: date | None = None,
    say: Say | None = None,
) -> Enrolled:
    """As `enrol_recordings`, for recordings that `verifier` has listened to."""
    name, before = checked(name), open_book(folder)
    seconds = list({one.digest: one.seconds for one in heard}.values())
    found = embeddings_of(verifier, heard)
    after = enrol(folder, name, found, seconds=seconds, session=session, purpose=purpose, until=until, say=say)
    doubts = [doubt for one in heard for doubt in one.doubts]
    if verifier.decision is not None:
        doubts += odd(after, name, verifier.decision.threshold, verifier.cohort)
    count = after.recordings_of(name)
    return Enrolled(name, count, count - before.recordings_of(name), doubts)


@dataclass(frozen=True)
class Identified:
    """The result of an identification.

    name: the nearest person of the book, or None if the score is below the threshold or the answer is ambiguous
    ambiguous, margin: see `book.Answer`
    unknown: `unknown 3` if the voice is kept as one that nobody has named, see `naming.keep_unknown`; else ""
    candidates: the nearest people, nearest first; at least two if the answer is ambiguous
    doubts: warnings, one line each
    """

    file: str
    name: str | None
    ambiguous: bool
    margin: float | None
    threshold: float
    candidates: list[Match]
    doubts: list[str]
    unknown: str = ""

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
    keep_unknown: int | None = None,
    say: Say | None = None,
) -> list[Identified]:
    """Find the person of the book who speaks in each recording, if any.

    threshold: replaces the model's; top: number of candidates; channel: channel of multi-channel files (0-based)
    keep_unknown: keep voices that are not in the book for this many days; say: as for `book.enrol`
    Raises InputError for an empty book, a book of another model, and without a threshold.
    """
    if not len(book) and keep_unknown is None:
        raise InputError(f"{book.folder}: the book is empty; add people with spkver enrol NAME FILES")
    people = people_for(verifier, book)
    verifier.required_threshold(threshold)  # fail early
    found, strange = [], {}
    for row, file in enumerate(bar(total=len(files), what="identify", unit="file", iterable=files)):
        heard = verifier.listen(file, channel=channel)
        one = identify_heard(verifier, people, heard, str(file), threshold=threshold, top=top)
        found.append(replace(one, doubts=[*one.doubts, *remarks(book), *_renewal(verifier, book, one)]))
        if one.name is None and not one.ambiguous:
            strange[row] = heard
    if keep_unknown is not None and strange:
        names = keep(verifier, book.folder, list(strange.values()), keep_unknown, threshold=threshold, say=say)
        for row, name in zip(strange, names):
            found[row] = replace(found[row], unknown=name)
    return found


def _renewal(verifier: Verifier, book: Book, found: Identified) -> list[str]:
    """Advice about the person who was found."""
    if found.name is None:
        return []
    return renewals(book, [found.name]) + unlike(book, found.name, found.threshold, verifier.cohort)


def people_for(verifier: Verifier, book: Book) -> People:
    """The people of a book, to compare with `verifier`. Raises InputError for a book of another model."""
    book.require(verifier.model_id)
    return book.people(verifier.cohort, verifier.lengths)


def identify_heard(
    verifier: Verifier,
    people: People,
    heard: Heard,
    file: str = "",
    *,
    threshold: float | None = None,
    top: int = 1,
) -> Identified:
    """As `identify`, for a recording that `verifier` has listened to, and the people of `people_for`."""
    least = verifier.required_threshold(threshold)
    matches = people.rank(heard.vector, max(top, 2), heard.seconds)
    found = answer(matches, least, verifier.scale)
    candidates = matches if found.ambiguous else matches[:top]
    return Identified(file, found.name, found.ambiguous, found.margin, least, candidates, heard.doubts)
