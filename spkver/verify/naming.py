"""Names for the speakers of recordings: people of a speaker book, and the same number for the same unknown voice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from spkver.diarization.agglomerative import APART, average_linkage
from spkver.diarization.diarize import Spoken
from spkver.files import StrPath
from spkver.verify.book import UNKNOWN, Book, Match, Say, answer, edited, number_of, write
from spkver.verify.bookfile import Person, Recording, new_key, today
from spkver.verify.cohort import Voices, compare
from spkver.verify.doubts import SPEECH_SECONDS
from spkver.verify.model import Heard, Verifier, embeddings_of


class Named(NamedTuple):
    """The name of a speaker, and the nearest people of the book, nearest first."""

    name: str
    candidates: list[Match]


def named(
    verifier: Verifier, spoken: Sequence[Spoken], book: Book, threshold: float | None = None
) -> list[list[Named]]:
    """Names of the speakers of each recording.

    A speaker has the name of the nearest person of the book if the score reaches the threshold and the runner-up is
    clearly further away, or else of the nearest unnamed voice that the book keeps, see `keep_unknown`. The others are
    `unknown 1`, `unknown 2`, ..., counted on from the book's: voices of different recordings have the same number if
    their mean score reaches the threshold. Numbers go by recording in order of their names.

    threshold: replaces the model's
    Raises InputError for a book of another model, and without a threshold.
    """
    book.require(verifier.model_id)
    least = verifier.required_threshold(threshold)
    people = book.people(verifier.cohort, verifier.lengths)
    found = []
    for one in spoken:
        ranked = [people.rank(voice, 2, seconds) for voice, seconds in zip(one.voices, one.seconds)]
        found.append([Named(answer(matches, least, verifier.scale).name or "", matches) for matches in ranked])
    kept = book.people(verifier.cohort, verifier.lengths, known=False)
    places = []
    for number in sorted(range(len(spoken)), key=lambda number: spoken[number].recording):
        taken = set()  # speakers of one recording differ
        for row, speaker in enumerate(found[number]):
            if speaker.name:
                continue
            (match,) = kept.rank(spoken[number].voices[row], 1, spoken[number].seconds[row]) or [Match("", -np.inf)]
            if match.score >= least and match.name not in taken:
                taken.add(match.name)
                found[number][row] = speaker._replace(name=match.name)
            else:
                places.append((number, row))
    first = last_number(book)
    for (number, row), unknown in zip(places, _numbers(verifier, spoken, places, least)):
        found[number][row] = found[number][row]._replace(name=f"{UNKNOWN} {first + unknown}")
    return found


def keep_unknown(
    verifier: Verifier,
    folder: StrPath,
    heard: Sequence[Heard],
    days: int,
    *,
    threshold: float | None = None,
    say: Say | None = None,
) -> list[str]:
    """Keep recordings of unknown voices in a book for some days, and return `unknown 1`, `unknown 2`, ... for each.

    A recording belongs to the nearest unnamed voice of the book if the score reaches the threshold; the days of that
    voice then start again. Otherwise it is a new voice. Recordings with less than SPEECH_SECONDS of speech, and those
    of people of the book, are not kept: "".

    threshold: replaces the model's; say: as for `book.enrol`
    Raises InputError for a book of another model, and without a threshold.
    """
    least, names = verifier.required_threshold(threshold), []
    with edited(folder, say, make=True) as book:
        book.require(verifier.model_id)
        day, contents = today(), book.contents
        for one in heard:
            name, new = _unnamed(verifier, replace(book, contents=contents), one, least)
            names.append(name)
            if name:
                person = contents.people.get(name) or Person(new_key(), day, known=False)
                person = replace(person, until=day + timedelta(days))
                contents = replace(contents, people=contents.people | {name: person})
                if new:
                    rows = [Recording(day, seconds=one.seconds)]
                    contents = contents.add(name, person, embeddings_of(verifier, [one]), rows)
        write(book, contents)
    return names


def _unnamed(verifier: Verifier, book: Book, heard: Heard, least: float) -> tuple[str, bool]:
    """The name of an unknown voice in a book, "" if it is not kept, and whether the recording is new there."""
    owner = dict(zip(book.voices.ids, book.contents.names)).get(heard.digest)
    if owner is not None:
        return ("" if book.contents.people[owner].known else owner), False
    if heard.seconds < SPEECH_SECONDS:
        return "", False
    ranked = book.people(verifier.cohort, verifier.lengths, known=False).rank(heard.vector, 1, heard.seconds)
    near = bool(ranked) and ranked[0].score >= least
    return (ranked[0].name if near else f"{UNKNOWN} {last_number(book) + 1}"), True


def last_number(book: Book) -> int:
    """The highest number of the unnamed voices of a book; 0 if there is none."""
    return max(map(number_of, book.contents.people), default=0)


def _numbers(
    verifier: Verifier, spoken: Sequence[Spoken], places: Sequence[tuple[int, int]], least: float
) -> list[int]:
    """The number of each unknown voice, counted from 1 in the order of `places`: recording and row."""
    if not places:
        return []
    vectors = np.stack([spoken[number].voices[row] for number, row in places])
    seconds = np.array([spoken[number].seconds[row] for number, row in places])
    voices = Voices.of(vectors, verifier.cohort, seconds)
    scores = compare(voices, voices, verifier.lengths)
    recordings = np.array([number for number, _ in places])
    scores[recordings[:, None] == recordings] = APART  # speakers of one recording differ
    tree = average_linkage(scores, np.ones(len(places)))
    labels = tree.labels(int((tree.similarity >= least).sum())).tolist()
    order = {label: place + 1 for place, label in enumerate(dict.fromkeys(labels))}
    return [order[label] for label in labels]
