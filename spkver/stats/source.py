"""A data directory or an audio pack, as utterances whose samples can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spkver import audio
from spkver.datadir import DataDir, read_datadir
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.packs import Pack

Words = list[str] | list[str | None]
_TAGS = {"session": "sessions", "language": "languages", "genre": "genres", "gender": "genders", "age": "ages"}


@dataclass(frozen=True)
class Source:
    """read: the waveform of a row, float32 (time,) in [-1, 1], and its rate in Hz; InputError where it has none.

    tags: further words of every utterance where known: sessions, languages, genres, genders, ages.
    """

    name: str
    ids: list[str]
    speakers: list[str]
    read: Callable[[int], tuple[np.ndarray, int]]
    tags: dict[str, Words] = field(default_factory=dict)

    def rows_of_speakers(self, most: int) -> dict[str, list[int]]:
        """Up to so many rows of every speaker, spread over what there is."""
        rows: dict[str, list[int]] = {}
        for row, speaker in enumerate(self.speakers):
            rows.setdefault(speaker, []).append(row)
        return {speaker: own[:: max(1, -(-len(own) // most))] for speaker, own in rows.items()}


def open_source(path: StrPath, *, allow_pipes: bool = False) -> Source:
    """Open a data directory or an audio pack. Raises InputError for a feature pack, which has no samples."""
    if not (Path(path) / "pack.json").is_file():
        return _of_datadir(str(path), read_datadir(path, allow_pipes=allow_pipes), allow_pipes)
    pack = Pack.open(path)
    if pack.kind != "audio":
        raise InputError(f"{path}: a feature pack; use the audio pack that it was made from")
    sessions: dict[str, Words] = {"sessions": pack.sessions} if any(pack.sessions) else {}
    rate = pack.sample_rate
    return Source(str(path), pack.ids, pack.speakers, lambda row: (audio.from_int16(pack[row]), rate), sessions)


def _of_datadir(name: str, data: DataDir, allow_pipes: bool) -> Source:
    nothing = [None] * len(data)
    starts = data.column("start") or [0.0] * len(data)
    paths, ends, channels = data.paths, data.column("end") or nothing, data.column("channel") or nothing

    def read(row: int) -> tuple[np.ndarray, int]:
        where = {"start": starts[row], "end": ends[row], "channel": channels[row]}
        return audio.read(paths[row], **where, allow_pipes=allow_pipes)

    tags = {plural: words for column, plural in _TAGS.items() if (words := data.column(column)) is not None}
    return Source(name, data.ids, data.speakers, read, tags)
