"""Advice about the people of a speaker book: doubts about their recordings, and how many strangers are accepted."""

from __future__ import annotations

from collections.abc import Iterable

from spkver.embeddings import unit
from spkver.verify.book import Book, normal
from spkver.verify.bookfile import Recording, today
from spkver.verify.cohort import Cohort, Voices, compare_pairs
from spkver.verify.decision import Rate
from spkver.verify.lengths import SECONDS

RENEW_DAYS = 730  # a choice, not a measurement: see the README of this package


def remarks(book: Book) -> list[str]:
    """Warnings about a book as a whole: people who have expired, and mapped embeddings."""
    found = []
    if book.expired:
        found.append(f"people of the book who have expired: {len(book.expired)}; `spkver book expire` removes them")
    if mapped := sum(row.mapped for row in book.contents.recordings):
        found.append(
            f"{mapped} of {len(book.voices)} recordings of the book were mapped from another model, and the threshold "
            f"was not set for them ({book.contents.mapped}); enrol people again"
        )
    return found


def renewals(book: Book, names: Iterable[str] | None = None, *, days: int = RENEW_DAYS) -> list[str]:
    """Advice to enrol people again, at most one line for each: enrolled long ago, only once, or with little speech.

    names: of known people; None: all. days: since the last enrolment
    """
    found = []
    rows: dict[str, list[Recording]] = {}
    for name, row in zip(book.contents.names, book.contents.recordings):
        rows.setdefault(name, []).append(row)
    for name in book.recordings() if names is None else names:
        own, reasons = rows[name], []
        last = max((row.enrolled for row in own if row.enrolled is not None), default=None)
        if last is not None and (today() - last).days > days:
            reasons.append(f"last enrolled on {last}, and voices change")
        if len(own) == 1:
            reasons.append("one recording only")
        spoken = [row.seconds for row in own if row.seconds is not None]
        if len(spoken) == len(own) and sum(spoken) < SECONDS:
            reasons.append(f"{sum(spoken):.1f} s of speech only")
        if reasons:
            found.append(f"'{name}': {'; '.join(reasons)}: add recordings with spkver enrol")
    return found


def odd(book: Book, name: str, threshold: float, cohort: Cohort | None = None) -> list[str]:
    """Warnings about a person of a book: recordings that differ, and other people who sound like this one."""
    name = normal(name)
    found = unlike(book, name, threshold, cohort)
    people, what = book.people(cohort), "cosine" if cohort is None else "score"
    if name in people.names:
        ranked = people.rank(people.voices.vectors[people.names.index(name)], 2)
        found += [
            f"'{match.name}', who is already in the book, sounds like '{name}' ({what} {match.score:.2f})"
            for match in ranked
            if match.name != name and match.score >= threshold
        ]
    return found


def unlike(book: Book, name: str, threshold: float, cohort: Cohort | None = None) -> list[str]:
    """Warning about recordings of a person that differ from the person's other ones."""
    own = book.voices.vectors[[row for row, speaker in enumerate(book.contents.names) if speaker == name]]
    if len(own) < 2:
        return []
    others = unit(own.sum(axis=0) - own, [name] * len(own), "mean of the other embeddings")
    apart = compare_pairs(Voices.of(own, cohort), Voices.of(others, cohort)) < threshold
    if not apart.any():
        return []
    which, what = (f"{apart.sum()} of {len(own)}", "the others") if len(own) > 2 else ("the two", "each other")
    return [f"{which} recordings of '{name}' sound unlike {what}"]


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
