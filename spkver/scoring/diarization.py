"""Evaluate diarization: DER and JER of every recording and of all, with intervals over recordings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from spkver import tables
from spkver.errors import InputError
from spkver.metrics.bootstrap import interval
from spkver.metrics.diarization import KINDS, Comparison, Errors, compare_turns, recording_bootstrap, summed
from spkver.rttm import Region, Turn


@dataclass(frozen=True)
class Diarization:
    """The comparison of every recording, by name, and warnings about what was evaluated.

    intervals: of DER and JER over all recordings at 95 %, None for fewer than two recordings
    """

    recordings: dict[str, Comparison]
    errors: dict[str, Errors]
    notes: list[str]
    intervals: dict[str, tuple[float, float]] | None

    @property
    def all(self) -> Errors:
        """The errors of all recordings together."""
        return summed(list(self.errors.values()))

    @property
    def right(self) -> int:
        """In how many recordings the number of speakers is right."""
        return sum(one.speakers == one.found for one in self.errors.values())

    def rows(self) -> list[list[str]]:
        """A table with a row for each recording and one for all: rates in per cent, speech in seconds."""
        head = ["recording", "DER %", "miss", "false alarm", "confusion", "JER %", "speech s", "speakers", "found"]
        return [head, *(_row(name, one) for name, one in self.errors.items()), _row("all", self.all)]

    def summary(self) -> list[str]:
        """The intervals, and the number of recordings with the right number of speakers."""
        lines = [f"right number of speakers in {self.right} of {len(self.errors)} recordings"]
        if self.intervals:
            parts = [f"{name} {100 * low:.2f} to {100 * high:.2f} %" for name, (low, high) in self.intervals.items()]
            lines.insert(0, f"95 % intervals over {len(self.errors)} recordings: {', '.join(parts)}")
        return lines

    def text(self) -> str:
        """The table and the summary."""
        return "\n".join([tables.text(self.rows()), "", *self.summary()])

    def plain(self) -> dict[str, Any]:
        """The numbers as JSON values; rates in [0, 1], times in seconds."""
        intervals = {} if self.intervals is None else {"intervals": {k: list(v) for k, v in self.intervals.items()}}
        recordings = {
            name: {**_plain(one), "mapping": self.recordings[name].mapping} for name, one in self.errors.items()
        }
        return {"all": {**_plain(self.all), "right": self.right, **intervals}, "recordings": recordings}


def evaluate_turns(
    reference: Iterable[Turn],
    hypothesis: Iterable[Turn],
    regions: Iterable[Region] | None = None,
    *,
    collar: float = 0.0,
    skip_overlap: bool = False,
    replicates: int = 1000,
) -> Diarization:
    """Compare turns with the reference, recording by recording; collar, skip_overlap: see `compare_turns`.

    regions: score only these parts (UEM), and only recordings that have some. Without, all recordings of both sides are
        scored: one without a hypothesis is missed, one without a reference is false alarm.
    Raises InputError if there is nothing to score, or no recording of the hypothesis is among those to score.
    """
    own, other = _by_recording(reference), _by_recording(hypothesis)
    parts = None if regions is None else _by_recording(regions)
    names = sorted({*own, *other} if parts is None else parts)
    if not names:
        raise InputError("no turns to score in reference and hypothesis")
    known = own if parts is None else parts
    if other and known and not known.keys() & other.keys():
        raise InputError(
            f"no recording of the hypothesis (first '{min(other)}') is in the reference (first '{min(known)}'); "
            "the names must be equal"
        )
    compared = {
        name: compare_turns(
            own.get(name, []),
            other.get(name, []),
            None if parts is None else [(start, end) for _, start, end in parts[name]],
            collar=collar,
            skip_overlap=skip_overlap,
        )
        for name in names
    }
    errors = {name: one.errors() for name, one in compared.items()}
    intervals = None
    if len(names) > 1 and replicates:
        low, high = interval(recording_bootstrap(list(errors.values()), replicates=replicates)).tolist()
        intervals = {"DER": (low[0], high[0]), "JER": (low[1], high[1])}
    return Diarization(compared, errors, _notes(names, own, other), intervals)


def _notes(names: Sequence[str], own: dict[str, list[Turn]], other: dict[str, list[Turn]]) -> list[str]:
    found = [
        ([name for name in names if name not in other and name in own], "no turns in the hypothesis: all missed"),
        ([name for name in names if name not in own and name in other], "no turns in the reference: all false alarm"),
        (sorted({*own, *other} - {*names}), "not in the UEM: not scored"),
    ]
    return [_counted(few, what) for few, what in found if few]


def _counted(names: Sequence[str], what: str) -> str:
    return f"{len(names)} recording{'s' if len(names) > 1 else ''}, first '{names[0]}', {what}"


def _by_recording(turns: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for turn in turns:
        found.setdefault(turn.recording, []).append(turn)
    return found


def _row(name: str, errors: Errors) -> list[str]:
    rates = [f"{100 * rate:.2f}" for rate in (errors.der, *map(errors.rate, KINDS), errors.jer)]
    return [name, *rates, f"{errors.speech:.1f}", str(errors.speakers), str(errors.found)]


def _plain(errors: Errors) -> dict[str, Any]:
    kept = {name: value for name, value in errors._asdict().items() if name != "jaccard"}
    return {"der": errors.der, "jer": errors.jer, **kept}
