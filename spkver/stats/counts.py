"""Counts of a corpus: speakers, sessions, utterances, hours."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from spkver.errors import InputError
from spkver.source import Source


@dataclass(frozen=True)
class Counts:
    """Counts of a corpus. `seconds` and `per_speaker` (utterances) are (min, mean, max).

    sessions: None if unknown; genders: number of speakers of each gender, empty if unknown
    """

    utterances: int
    speakers: int
    sessions: int | None
    hours: float
    seconds: tuple[float, float, float]
    per_speaker: tuple[int, float, int]
    genders: dict[str, int]

    def rows(self) -> list[tuple[str, str]]:
        """Names and values to print."""
        genders = ", ".join(f"{number} {name}" for name, number in self.genders.items())
        return [
            ("speakers", f"{self.speakers}" + (f" ({genders})" if genders else "")),
            ("sessions", "unknown" if self.sessions is None else f"{self.sessions}"),
            ("utterances", f"{self.utterances}"),
            ("hours", f"{self.hours:.2f}"),
            ("seconds (min, mean, max)", "{:.2f}  {:.2f}  {:.2f}".format(*self.seconds)),
            ("per speaker (min, mean, max)", "{}  {:.1f}  {}".format(*self.per_speaker)),
        ]


def count(source: Source) -> Counts:
    """Count a data directory or a pack. Durations that its lists do not give are read from the recordings.

    Raises InputError if it is empty, or a duration cannot be read.
    """
    if not len(source):
        raise InputError(f"{source.name}: no utterances")
    seconds = source.seconds()
    per_speaker = list(Counter(source.speakers).values())
    sessions, genders = source.tags.get("session"), source.tags.get("gender")
    of_speakers = dict(zip(source.speakers, genders or ()))
    return Counts(
        utterances=len(source),
        speakers=len(per_speaker),
        sessions=None if sessions is None else len(set(zip(source.speakers, sessions))),
        hours=float(seconds.sum() / 3600),
        seconds=(float(seconds.min()), float(seconds.mean()), float(seconds.max())),
        per_speaker=(min(per_speaker), len(source) / len(per_speaker), max(per_speaker)),
        genders=dict(sorted(Counter(gender or "unknown" for gender in of_speakers.values()).items())),
    )
