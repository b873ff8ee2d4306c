"""Statistics of a data directory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spkver.datadir.seconds import durations
from spkver.datadir.table import DataDir


@dataclass(frozen=True)
class Stats:
    """Counts of a data directory. `seconds` and `per_speaker` (utterances) are (min, mean, max)."""

    utterances: int
    speakers: int
    sessions: int | None
    hours: float
    seconds: tuple[float, float, float]
    per_speaker: tuple[int, float, int]
    genders: dict[str, int]


def stats(data: DataDir) -> Stats:
    """Count speakers, utterances, sessions and hours; durations not in utt2dur are read from the recordings."""
    seconds = durations(data)
    counts = np.array(data.table["speaker"].value_counts().field("counts"))
    sessions = None
    if "session" in data.table.column_names:
        sessions = data.table.group_by(["speaker", "session"]).aggregate([]).num_rows
    genders: dict[str, int] = {}
    if "gender" in data.table.column_names:
        of_speakers = data.table.group_by(["speaker"], use_threads=False).aggregate([("gender", "first")])
        found = of_speakers["gender_first"].value_counts().to_pylist()
        genders = {entry["values"] or "unknown": entry["counts"] for entry in found}
    return Stats(
        utterances=len(data),
        speakers=len(counts),
        sessions=sessions,
        hours=float(seconds.sum() / 3600),
        seconds=(float(seconds.min()), float(seconds.mean()), float(seconds.max())),
        per_speaker=(int(counts.min()), float(counts.mean()), int(counts.max())),
        genders=dict(sorted(genders.items())),
    )
