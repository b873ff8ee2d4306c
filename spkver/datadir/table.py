"""The table of a data directory, and functions to look up and compare its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver.errors import InputError

# optional columns of the table and their files
OF_UTTERANCES = {"session": "utt2session", "seconds": "utt2dur", "language": "utt2lang", "genre": "utt2genre"}
OF_SPEAKERS = {"gender": "spk2gender", "age": "spk2age", "nationality": "spk2nationality"}
CHANNELS = "reco2file_and_channel"  # Kaldi's format: recording, file name, A or B

# in RE2, \s matches ASCII blanks only; \x{FEFF} at the start of a line is a byte order mark, which readers drop
WORD = r"^[^\s\p{Z}\p{Cc}\x{FEFF}]+$"
PATH = r"^[^\s\p{Z}\p{Cc}\x{FEFF}]([^\n\r]*[^\s\p{Z}\p{Cc}])?$"

Column = Any  # a Python sequence or an Arrow array, which has no types for mypy


class Place(NamedTuple):
    """Where the audio of an utterance is, as `audio.read` takes it.

    start, end: seconds; an end of None is the end of the recording; channel: 0-based, None for single-channel files
    """

    path: str
    start: float
    end: float | None
    channel: int | None


@dataclass(frozen=True)
class DataDir:
    """The utterances of a data directory, sorted by id (byte order).

    Columns of `table`: id, speaker, recording (its id in wav.scp), path (or a shell command that ends with `|`).
    With segments: start and end (seconds; a null end is the end of the recording). If known: session, seconds
    (duration), language, genre, gender, age, nationality, channel (0-based; null for single-channel files).
    """

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> list | None:
        """A column as a Python list, or None if the directory does not have it."""
        return self.table[name].to_pylist() if name in self.table.column_names else None

    def required(self, name: str, purpose: str) -> list:
        """A column that must have a value for every utterance; `purpose` says what for in the InputError."""
        values = self.column(name)
        if values is None or None in values:
            file = (OF_UTTERANCES | OF_SPEAKERS)[name]
            raise InputError(f"{purpose} needs the {name} of every utterance: {file} is missing or has gaps")
        return values

    @property
    def ids(self) -> list[str]:
        """Utterance ids."""
        return self.table["id"].to_pylist()

    @property
    def speakers(self) -> list[str]:
        """The speaker of every utterance."""
        return self.table["speaker"].to_pylist()

    @property
    def paths(self) -> list[str]:
        """The path of the recording of every utterance."""
        return self.table["path"].to_pylist()

    def places(self) -> list[Place]:
        """Where the audio of every utterance is."""
        nothing: list[None] = [None] * len(self)
        starts = [start or 0.0 for start in self.column("start") or nothing]
        ends, channels = self.column("end") or nothing, self.column("channel") or nothing
        return [Place(*place) for place in zip(self.paths, starts, ends, channels)]

    @property
    def sessions(self) -> list[str | None] | None:
        """The session of every utterance, or None if the directory has no sessions."""
        return self.column("session")

    def filter(self, keep: pa.Array | np.ndarray) -> DataDir:
        """The utterances for which `keep`, bool (utterances,), is true."""
        return DataDir(self.table.filter(pa.array(keep) if isinstance(keep, np.ndarray) else keep))


def from_columns(
    ids: Column,
    paths: Column,
    speakers: Column,
    *,
    sessions: Column | None = None,
    seconds: Column | None = None,
    languages: Column | None = None,
    genres: Column | None = None,
    genders: Column | None = None,
    ages: Column | None = None,
    nationalities: Column | None = None,
    recordings: Column | None = None,
    starts: Column | None = None,
    ends: Column | None = None,
    channels: Column | None = None,
) -> DataDir:
    """Make a data directory from columns with one value per utterance: Python sequences or Arrow arrays, in any order.

    recordings, starts, ends: the recording id and the part of it in seconds (a None end is the end of the recording);
        without them, every utterance is a whole recording
    channels: 0-based; None for single-channel files
    Raises InputError for a name that is not UTF-8.
    """
    text = {"id": ids, "speaker": speakers, "recording": ids if recordings is None else recordings, "path": paths}
    text |= {"session": sessions, "language": languages, "genre": genres}
    text |= {"gender": genders, "age": ages, "nationality": nationalities}
    numbers = {"seconds": seconds, "start": starts, "end": ends}
    columns = {name: _array(values, pa.string()) for name, values in text.items() if values is not None}
    columns |= {name: _array(values, pa.float64()) for name, values in numbers.items() if values is not None}
    if channels is not None:
        columns["channel"] = _array(channels, pa.int64())
    return DataDir(pa.table(columns).sort_by("id"))


def _array(values: Column, of: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.cast(of)
    try:
        return pa.array(values, of)
    except UnicodeEncodeError as error:
        raise InputError(f"{error.object!r}: the name is not UTF-8; rename it") from error


# Fast paths: most lists are sorted and have the same keys, so no hash table is needed.


def look_up(keys: pa.Array, known: pa.Array, values: pa.Array) -> pa.Array:
    """The value of every key; null for an unknown key."""
    return values if keys.equals(known) else values.take(pc.index_in(keys, value_set=known))


def absent(keys: pa.Array, known: pa.Array) -> pa.Array:
    """True for each unknown key."""
    if keys.equals(known):
        return pa.array(np.zeros(len(keys), bool))
    return pc.invert(pc.is_in(keys, value_set=known))


def repeated(keys: pa.Array) -> pa.Array:
    """True for each key that occurred before."""
    if len(keys) < 2 or pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        return pa.array(np.zeros(len(keys), bool))
    first = pc.index_in(keys, value_set=keys)  # index of the first occurrence
    return pa.array(first.to_numpy(zero_copy_only=False) != np.arange(len(keys)))


def of_two_paths(table: pa.Table) -> pa.Array:
    """True for each recording id that occurred before with another path."""
    recordings, paths = flat(table["recording"]), flat(table["path"])
    return pc.not_equal(paths.take(pc.index_in(recordings, value_set=recordings)), paths)


def flat(column: pa.ChunkedArray) -> pa.Array:
    """The column as one chunk."""
    return column.combine_chunks()
