"""Advice about the people of a speaker book: what is doubtful about their recordings, and how many strangers pass."""

from __future__ import annotations

from spkver.embeddings import unit
from spkver.verify.book import Book, normal
from spkver.verify.cohort import Cohort, Voices, compare_pairs
from spkver.verify.decision import Rate


def remarks(book: Book) -> list[str]:
    """Warnings about a book as a whole: people who have expired, and mapped embeddings."""
    found = []
    if book.expired:
        found.append(f"{len(book.expired)} people of the book have expired; `spkver book expire` removes them")
    if mapped := sum(row.mapped for row in book.contents.recordings):
        found.append(
            f"{mapped} of {len(book.voices)} recordings of the book were mapped from another model, and the threshold "
            f"was not set for them ({book.contents.mapped}); enrol people again"
        )
    return found


def odd(book: Book, name: str, threshold: float, cohort: Cohort | None = None) -> list[str]:
    """Warnings about a person of a book: recordings that differ, and other people who sound like this one."""
    name = normal(name)
    found = []
    own = book.voices.vectors[[row for row, speaker in enumerate(book.contents.names) if speaker == name]]
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
