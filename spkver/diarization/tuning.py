"""Choose the settings of a clustering on recordings with a known reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spkver.config import validate
from spkver.diarization.clustering import Number
from spkver.diarization.diarize import Heard, Stages, cluster
from spkver.diarization.settings import Settings
from spkver.metrics.diarization import Errors, compare_turns, summed
from spkver.rttm import Turn

ROUNDS = 2
CLOSE = 0.001  # a smaller difference in DER is not significant


class Tried(NamedTuple):
    """Settings and their results on the recordings. right: recordings with the right number of speakers."""

    settings: Settings
    errors: Errors
    right: int


def tried(settings: Settings, heard: Sequence[Heard], reference: Mapping[str, Sequence[Turn]]) -> Tried:
    """Diarize the recordings, with the number of speakers found, and compare with the reference, without a collar."""
    errors = []
    for one in heard:
        spoken = cluster(one, settings, Number(), Stages())
        turns = [Turn(one.recording, start, end, str(speaker)) for start, end, speaker in spoken.stretches]
        errors.append(compare_turns(reference[one.recording], turns).errors())
    return Tried(settings, summed(errors), sum(one.speakers == one.found for one in errors))


def best_of(found: Sequence[Tried]) -> Tried:
    """Of those with a DER within `CLOSE` of the lowest, the one with the right number of speakers most often."""
    least = min(one.errors.der for one in found)
    return min((one for one in found if one.errors.der <= least + CLOSE), key=lambda one: (-one.right, one.errors.der))


def tune(
    heard: Sequence[Heard],
    reference: Mapping[str, Sequence[Turn]],
    settings: Settings,
    values: Mapping[str, Sequence[float]],
) -> list[Tried]:
    """Try values of the keys of the clustering, one key at a time, in several rounds; the best result is the last.

    values: to try for each key, of which the first round takes the others as they are in `settings`
    The best are those of `best_of`.
    """
    best, found = tried(settings, heard, reference), []
    for _ in range(ROUNDS):
        for key, several in values.items():
            for value in several:
                tree = best.settings.model_dump(mode="json")
                tree["clustering"][key] = value
                found.append(tried(validate(Settings, tree), heard, reference))
            best = best_of([best, *found])
    return [*found, best]
