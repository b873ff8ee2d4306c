"""Names for the speakers of recordings: people of a speaker book, and the same number for the same unknown voice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spkver.diarization.agglomerative import APART, average_linkage
from spkver.diarization.diarize import Spoken
from spkver.verify.book import UNKNOWN, Book, Match, answer
from spkver.verify.cohort import Voices, compare

if TYPE_CHECKING:
    from spkver.verify.model import Verifier


class Named(NamedTuple):
    """The name of a speaker, and the nearest people of the book, nearest first."""

    name: str
    candidates: list[Match]


def named(
    verifier: Verifier, spoken: Sequence[Spoken], book: Book, threshold: float | None = None
) -> list[list[Named]]:
    """Names of the speakers of each recording.

    A speaker has the name of the nearest person of the book if the score reaches the threshold and the runner-up is
    clearly further away. The others are `unknown 1`, `unknown 2`, ...: voices of different recordings have the same
    number if their mean score reaches the threshold. Numbers go by recording in order of their names.

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
    places = [
        (number, row)
        for number in sorted(range(len(spoken)), key=lambda number: spoken[number].recording)
        for row, speaker in enumerate(found[number])
        if not speaker.name
    ]
    numbers = _numbers(verifier, spoken, places, least)
    for (number, row), unknown in zip(places, numbers):
        found[number][row] = found[number][row]._replace(name=f"{UNKNOWN} {unknown}")
    return found


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
