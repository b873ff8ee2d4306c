"""Data directories in Kaldi's form: wav.scp, segments, utt2spk, spk2gender, utt2dur, utt2session; of stereo telephone
calls with a speaker on each channel, reco2file_and_channel.

A data directory is one Arrow table in memory, one row per utterance, read and joined by column: a million utterances
take seconds (tests/benchmarks/datadir.py). Paths in wav.scp are relative to the current directory, as Kaldi has it.

Ids of utterances, speakers, sessions are words: UTF-8 without blanks and control characters of any script, since other
tools split lines at those. Nothing more is asked of them, since no id is ever used as the name of a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver import audio
from spkver.errors import InputError, RunError
from spkver.files import StrPath, atomic_directory
from spkver.lists import read_columns
from spkver.processes import available_cpus, process_pool
from spkver.progress import bar

# Optional columns of the table, and the file each is kept in
_OF_UTTERANCES = {"session": "utt2session", "seconds": "utt2dur", "language": "utt2lang", "genre": "utt2genre"}
_OF_SPEAKERS = {"gender": "spk2gender", "age": "spk2age", "nationality": "spk2nationality"}
_CHANNELS = "reco2file_and_channel"  # Kaldi's: recording, its file's name, A or B

_WORD = r"^[^\s\p{Z}\p{Cc}]+$"  # RE2's \s alone is ASCII's
_PATH = r"^[^\s\p{Z}\p{Cc}]([^\n\r]*[^\s\p{Z}\p{Cc}])?$"

Column = Any  # a Python sequence or an Arrow array, which mypy does not know


@dataclass(frozen=True)
class DataDir:
    """The utterances of a data directory, sorted by id (byte order).

    The columns of `table`: id, speaker, recording (its id in wav.scp), path (or a shell command ending in `|`); if
    there are segments start and end (seconds; end null: to the end of the recording); where known session, seconds
    (duration), language, genre, gender, age, nationality; channel (of files with several: 0, 1, ...; null where the
    file has one).
    """

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> list | None:
        """A column as a Python list, or None where the directory does not have it."""
        return self.table[name].to_pylist() if name in self.table.column_names else None

    def required(self, name: str, purpose: str) -> list:
        """A column that must be there for every utterance. Raises InputError saying what it was needed for."""
        values = self.column(name)
        if values is None or None in values:
            file = (_OF_UTTERANCES | _OF_SPEAKERS)[name]
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
        """The recording of every utterance."""
        return self.table["path"].to_pylist()

    @property
    def sessions(self) -> list[str | None] | None:
        """The session of every utterance, or None where the directory has none."""
        return self.column("session")

    def filter(self, keep: pa.Array | np.ndarray) -> DataDir:
        """The utterances for which `keep` (bool, one an utterance) is true."""
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
    """A data directory from one value per utterance, in any order, as Python sequences or Arrow arrays.

    Of whole recordings, unless `starts` and `ends` (seconds; None: to the end) say which part of `recordings` (ids).
    channels: of files with several, counted from 0; None where the file has one.
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
        raise InputError(f"{error.object!r}: a name that is not UTF-8; rename it") from error


# --- reading and checking ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """One kind of defect: what it is, how often it occurs, where first (file:line: word).

    A directory with a `fatal` one is not read; the others are only worth knowing.
    """

    what: str
    count: int
    first: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.first}: {self.what}" + (f" ({self.count} times)" if self.count > 1 else "")


def read_datadir(path: StrPath, *, allow_pipes: bool = False) -> DataDir:
    """Read a data directory, in any order of lines.

    Raises InputError (file:line, what) at its first fatal problem, and at shell commands without `allow_pipes`.
    """
    raw = _Raw(Path(path))
    problem = next((problem for problem in raw.problems(allow_pipes) if problem.fatal), None)
    if problem is not None:
        raise InputError(f"{problem}; 'spkver data validate {path}' lists every problem")
    return DataDir(raw.joined())


def validate(path: StrPath, *, allow_pipes: bool = False, look_at_recordings: bool = True) -> list[Problem]:
    """All that is wrong with a data directory, one Problem per kind, none if it is sound.

    With `look_at_recordings` every recording must exist and open, and hold its segments; this reads each header once.
    A file that cannot be split into its columns is a Problem by itself.
    """
    try:
        raw = _Raw(Path(path))
    except InputError as error:
        where, _, what = str(error).partition(": ")
        return [Problem(what or "cannot be read", 1, where)]
    problems = list(raw.problems(allow_pipes))
    if look_at_recordings:
        problems += raw.problems_of_recordings()
    return problems


class _Raw:
    """The files of a data directory as columns, not yet joined."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise InputError(f"{root}: no such data directory")
        self.root = root
        self.wav = self._read("wav.scp", "recording", "path", rest=True)
        self.speakers = self._read("utt2spk", "id", "speaker")
        self.segments = None
        if (root / "segments").exists():
            self.segments = self._read("segments", "id", "recording", "start", "end")
            for name in ("start", "end"):
                self.segments[name] = self._numbers("segments", self.segments[name])
        self.of_utterances = self._read_present(_OF_UTTERANCES, "id")
        self.of_speakers = self._read_present(_OF_SPEAKERS, "speaker")
        self.channels = self._read(_CHANNELS, "recording", "file", "channel") if (root / _CHANNELS).exists() else None
        if self.channels:
            self.channels["channel"] = self._channels(self.channels["channel"])
        if durations := self.of_utterances.get("seconds"):
            durations["seconds"] = self._numbers("utt2dur", durations["seconds"])

    @property
    def ids(self) -> pa.Array:
        """The utterances: those of `segments`, or without it the recordings."""
        return self.segments["id"] if self.segments else self.wav["recording"]

    @property
    def utterances_file(self) -> str:
        return "segments" if self.segments else "wav.scp"

    def joined(self) -> pa.Table:
        columns = {"id": self.ids, "speaker": _look_up(self.ids, self.speakers["id"], self.speakers["speaker"])}
        columns["recording"] = self.segments["recording"] if self.segments else self.ids
        columns["path"] = _look_up(columns["recording"], self.wav["recording"], self.wav["path"])
        if self.channels:
            columns["channel"] = _look_up(columns["recording"], self.channels["recording"], self.channels["channel"])
        if self.segments:
            end = self.segments["end"]
            columns["start"] = self.segments["start"]
            columns["end"] = pc.if_else(pc.less(end, 0.0), pa.scalar(None, pa.float64()), end)
        for found, key in ((self.of_utterances, "id"), (self.of_speakers, "speaker")):
            for name, pairs in found.items():
                columns[name] = _look_up(columns[key], pairs[key], pairs[name])
        return pa.table(columns).sort_by("id")

    def problems(self, allow_pipes: bool) -> Iterator[Problem]:
        """What the lists alone show."""
        of = self.utterances_file
        keyed = [("wav.scp", self.wav["recording"]), ("utt2spk", self.speakers["id"])]
        keyed += [("segments", self.segments["id"])] if self.segments else []
        keyed += [(_CHANNELS, self.channels["recording"])] if self.channels else []
        keyed += [(_OF_UTTERANCES[name], pairs["id"]) for name, pairs in self.of_utterances.items()]
        keyed += [(_OF_SPEAKERS[name], pairs["speaker"]) for name, pairs in self.of_speakers.items()]
        if not len(self.ids):
            yield Problem("holds no utterances", 1, str(self.root / of))
        for file, keys in keyed:
            yield from self._problem(file, keys, _repeated(keys), "occurs again")
        ids, speakers = self.ids, self.speakers["id"]
        for file, keys, words in ((of, ids, ids), ("utt2spk", speakers, self.speakers["speaker"])):
            spoilt = pc.invert(pc.match_substring_regex(words, _WORD))
            yield from self._problem(file, keys, spoilt, "has blanks or control characters, other tools split it there")
        yield from self._problem(of, ids, _missing(ids, speakers), "has no speaker in utt2spk")
        yield from self._problem("utt2spk", speakers, _missing(speakers, ids), f"is not in {of}")
        if self.segments:
            yield from self._problems_of_segments()
        if not allow_pipes:
            pipes = pc.match_substring_regex(self.wav["path"], r"\|$")
            what = "is a shell command; it runs only with --allow-pipes"
            yield from self._problem("wav.scp", self.wav["recording"], pipes, what)
        for file, keys in keyed:
            unsorted = pa.array(_falls(keys))
            yield from self._problem(file, keys, unsorted, "is not in byte order (LC_ALL=C sort)", fatal=False)
        for name, pairs in self.of_utterances.items():
            missing = _missing(ids, pairs["id"])
            yield from self._problem(of, ids, missing, f"is not in {_OF_UTTERANCES[name]}", fatal=False)
        for name, pairs in self.of_speakers.items():
            missing = _missing(self.speakers["speaker"], pairs["speaker"])
            what = f"has a speaker that {_OF_SPEAKERS[name]} lacks"
            yield from self._problem("utt2spk", speakers, missing, what, fatal=False)

    def _problems_of_segments(self) -> Iterator[Problem]:
        assert self.segments is not None
        ids, start, end = self.segments["id"], self.segments["start"], self.segments["end"]
        missing = _missing(self.segments["recording"], self.wav["recording"])
        yield from self._problem("segments", ids, missing, "is part of a recording that wav.scp lacks")
        backwards = pc.or_(pc.less(start, 0.0), pc.and_(pc.greater_equal(end, 0.0), pc.less_equal(end, start)))
        yield from self._problem("segments", ids, backwards, "does not end after it starts")

    def problems_of_recordings(self) -> Iterator[Problem]:
        """What opening every recording shows."""
        known = self.wav["recording"]
        paths = self.wav["path"].to_pylist()
        lengths = read_seconds(paths)
        lost = pa.array([length is None and not audio.is_pipe(path) for length, path in zip(lengths, paths)])
        yield from self._problem("wav.scp", known, lost, "names a recording that is missing or cannot be opened")
        if self.segments:
            length = _look_up(self.segments["recording"], known, pa.array(lengths, pa.float64()))
            limit = pc.add(length, audio.OVERSHOOT_SECONDS)
            over = pc.or_(pc.greater(self.segments["end"], limit), pc.greater_equal(self.segments["start"], length))
            over = pc.fill_null(over, False)
            yield from self._problem("segments", self.segments["id"], over, "lies outside its recording")

    def _problem(self, file: str, keys: pa.Array, bad: pa.Array, what: str, fatal: bool = True) -> Iterator[Problem]:
        count = pc.sum(bad).as_py() or 0
        if count:
            line = pc.index(bad, True).as_py()
            yield Problem(what, count, f"{self.root / file}:{line + 1}: {keys[line].as_py()!r}", fatal)

    def _read(self, file: str, *names: str, rest: bool = False) -> dict[str, pa.Array]:
        return read_columns(self.root / file, names, rest=rest)

    def _read_present(self, files: dict[str, str], key: str) -> dict[str, dict[str, pa.Array]]:
        present = {name: file for name, file in files.items() if (self.root / file).exists()}
        return {name: self._read(file, key, name) for name, file in present.items()}

    def _channels(self, text: pa.Array) -> pa.Array:
        """A, B, ... or 1, 2, ... as numbers from 0."""
        good = pc.match_substring_regex(text, r"^([A-Z]|[1-9][0-9]?)$")
        if not pc.all(good).as_py() and len(good):
            line = pc.index(good, False).as_py()
            place = f"{self.root / _CHANNELS}:{line + 1}"
            raise InputError(f"{place}: expected a channel, A or B, got {text[line].as_py()!r}")
        known = {word: ord(word) - ord("A") if word.isalpha() else int(word) - 1 for word in text.unique().to_pylist()}
        return pa.array([known[word] for word in text.to_pylist()], pa.int64())

    def _numbers(self, file: str, text: pa.Array) -> pa.Array:
        good = pc.match_substring_regex(text, r"^-?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?$")
        if not pc.all(good).as_py() and len(good):
            line = pc.index(good, False).as_py()
            raise InputError(f"{self.root / file}:{line + 1}: expected seconds, got {text[line].as_py()!r}")
        return text.cast(pa.float64())


# Lists are mostly sorted and of the same keys, which takes no hash table to see.


def _look_up(keys: pa.Array, known: pa.Array, values: pa.Array) -> pa.Array:
    """The value of every key, null for a key that is not known."""
    return values if keys.equals(known) else values.take(pc.index_in(keys, value_set=known))


def _missing(keys: pa.Array, known: pa.Array) -> pa.Array:
    if keys.equals(known):
        return pa.array(np.zeros(len(keys), bool))
    return pc.invert(pc.is_in(keys, value_set=known))


def _repeated(keys: pa.Array) -> pa.Array:
    """True where a key has occurred before."""
    if len(keys) < 2 or pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        return pa.array(np.zeros(len(keys), bool))
    first = pc.index_in(keys, value_set=keys)  # the place of its first occurrence
    return pa.array(first.to_numpy(zero_copy_only=False) != np.arange(len(keys)))


def _falls(keys: pa.Array) -> np.ndarray:
    """True where a key is smaller than the one before it."""
    falls = np.zeros(len(keys), bool)
    if len(keys) > 1:
        falls[1:] = pc.less(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    return falls


_CHUNK = 512  # files that a process opens for one message


def read_seconds(paths: Sequence[str]) -> list[float | None]:
    """The duration of every recording in seconds, from the headers; None for one that cannot be opened.

    Many recordings are opened by a process on every core, in threads, since the time goes into waiting for the disk.
    """
    chunks = [paths[at : at + _CHUNK] for at in range(0, len(paths), _CHUNK)]
    jobs = min(available_cpus(), len(chunks) // 32)  # a process takes a second to start
    found = []
    pool = process_pool(jobs) if jobs > 1 else ThreadPoolExecutor(1)
    try:
        with bar(total=len(paths), what="durations", unit="file") as progress:
            for durations in pool.map(_seconds_of_all, chunks):
                found.append(durations)
                progress.update(len(durations))
    except BrokenProcessPool as error:
        raise RunError("a process that read headers was killed (out of memory?); run again") from error
    finally:
        pool.shutdown(cancel_futures=True)
    return list(chain.from_iterable(found))


def _seconds_of_all(paths: Sequence[str]) -> list[float | None]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_seconds, paths))


def _seconds(path: str) -> float | None:
    try:
        return audio.seconds(path)
    except InputError:
        return None


# --- writing ----------------------------------------------------------------------------------------------------------


def write_datadir(path: StrPath, data: DataDir) -> None:
    """Write a data directory, whole or not at all, every file sorted by its key.

    Raises InputError for what the format cannot hold (blanks in an id or speaker, line ends in a path), for repeated
    ids, and if something other than a data directory stands at `path`.
    """
    target = Path(path)
    if target.exists() and not (target / "wav.scp").is_file() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{path}: exists and is not a data directory; choose another place")
    table = data.table.sort_by("id")
    _check_writable(table)
    names = [name for name in table.column_names if table[name].null_count < len(table)]
    segmented = "start" in names
    with atomic_directory(target) as part:
        _write_pairs(part / "wav.scp", table, "recording", "path", unique=not segmented)
        _write_pairs(part / "utt2spk", table, "id", "speaker", unique=True)
        if segmented:
            end = pc.fill_null(table["end"], -1.0)
            text = [table["id"], table["recording"], table["start"].cast(pa.string()), end.cast(pa.string())]
            _write_lines(part / "segments", text)
        if "channel" in names:
            _write_channels(part / _CHANNELS, table)
        for name, file in _OF_UTTERANCES.items():
            if name in names:
                _write_pairs(part / file, table, "id", name, unique=True)
        for name, file in _OF_SPEAKERS.items():
            if name in names:
                _write_pairs(part / file, table, "speaker", name)


def _check_writable(table: pa.Table) -> None:
    if not table.num_rows:
        raise InputError("no utterances are left: a data directory needs at least one")
    for name in table.column_names:
        if not pa.types.is_string(table[name].type):
            continue
        pattern = _PATH if name == "path" else _WORD
        needed = name in ("id", "speaker", "recording", "path")
        good = pc.fill_null(pc.match_substring_regex(table[name], pattern), not needed)
        if not pc.all(good).as_py():
            row = pc.index(good, False).as_py()
            whose = "" if name == "id" else f" (utterance {table['id'][row].as_py()!r})"
            what = "empty, or with blanks, line ends or control characters that a Kaldi list cannot hold"
            raise InputError(f"{name} {table[name][row].as_py()!r}: {what}{whose}")
    if pc.any(again := _repeated(_flat(table["id"]))).as_py():
        raise InputError(f"utterance id {table['id'].filter(again)[0].as_py()!r} occurs again: ids must differ")
    if "start" in table.column_names and pc.any(other := _of_two_paths(table)).as_py():
        raise InputError(f"recording {table['recording'].filter(other)[0].as_py()!r} has two paths: ids must differ")


def _write_pairs(path: Path, table: pa.Table, key: str, value: str, *, unique: bool = False) -> None:
    """One line per key, sorted; rows without a value have no line. With `unique`, the table has a row for each key."""
    pairs = table.select([key, value]).filter(pc.is_valid(table[value]))
    if not unique:
        pairs = pairs.group_by([key], use_threads=False).aggregate([(value, "first")]).sort_by(key)
    _write_lines(path, [pairs[0 if unique else key], pairs[1 if unique else f"{value}_first"].cast(pa.string())])


def _write_channels(path: Path, table: pa.Table) -> None:
    rows = table.select(["recording", "path", "channel"]).filter(pc.is_valid(table["channel"])).to_pylist()
    found = {
        row["recording"]: f"{'_'.join(Path(row['path']).stem.split()) or row['recording']} {chr(65 + row['channel'])}"
        for row in rows
    }
    path.write_text("".join(f"{name} {rest}\n" for name, rest in sorted(found.items())), encoding="utf-8")


def _write_lines(path: Path, columns: Sequence[pa.ChunkedArray]) -> None:
    """The columns side by side, a blank between them. Arrow's arrays of the lines are the text of the file."""
    table = pa.table(list(columns), names=[str(number) for number in range(len(columns))])
    with path.open("wb") as stream:
        for batch in table.to_batches(max_chunksize=1 << 20):
            lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*batch.columns, " "), "", "\n")
            stream.write(memoryview(lines.buffers()[2])[: pc.sum(pc.binary_length(lines)).as_py()])


# --- choosing and counting --------------------------------------------------------------------------------------------


def split(
    data: DataDir,
    *,
    speakers: int | None = None,
    share: float | None = None,
    named: Iterable[str] | None = None,
    seed: int = 0,
) -> tuple[DataDir, DataDir]:
    """Two parts with no speaker in common: (the rest, the chosen speakers).

    Exactly one of `speakers` (how many), `share` (of the speakers, between 0 and 1) and `named` (which) chooses.
    The same seed chooses the same speakers. Raises InputError if either part would be empty.
    """
    if sum(choice is not None for choice in (speakers, share, named)) != 1:
        raise InputError("give one of: a number of speakers, a share of them, a list of them")
    everyone = _speakers(data)
    if named is not None:
        chosen = sorted(set(named))
        if unknown := sorted(set(chosen) - set(everyone)):
            raise InputError(f"speaker {unknown[0]!r} of the list has no utterances here")
    else:
        count = speakers if speakers is not None else round(float(share or 0) * len(everyone))
        chosen = _draw(everyone, count, "speakers", seed)
    if not 0 < len(chosen) < len(everyone):
        raise InputError(f"{len(chosen)} of {len(everyone)} speakers chosen: both parts need at least one")
    among = pc.is_in(data.table["speaker"], value_set=pa.array(chosen, pa.string()))
    return data.filter(pc.invert(among)), data.filter(among)


def join(parts: Sequence[DataDir]) -> DataDir:
    """All utterances of several data directories; what only some of them know of their utterances is null in others.

    A speaker's id means the same person in all of them. Raises InputError for an utterance id that is in two of them,
    and for a recording's id that stands for two paths.
    """
    table = pa.concat_tables([part.table for part in parts], promote_options="default").combine_chunks()
    if "start" in table.column_names:  # a whole recording is a segment of its own here
        start = table.schema.get_field_index("start")
        table = table.set_column(start, "start", pc.fill_null(table["start"], 0.0))
    for name, again in (("utterance", _repeated(_flat(table["id"]))), ("recording", _of_two_paths(table))):
        if pc.any(again).as_py():
            first = table["id" if name == "utterance" else name].filter(again)[0].as_py()
            count = pc.sum(again).as_py()
            raise InputError(f"{name} {first!r} is in two of the directories ({count} such): ids must differ")
    return DataDir(table.sort_by("id"))


def prefixed(data: DataDir, prefix: str) -> DataDir:
    """The same with `prefix` before every speaker id: corpora number speakers alike (VoxCeleb2 and CN-Celeb do)."""
    names = pc.binary_join_element_wise(prefix, data.table["speaker"], "")
    return DataDir(data.table.set_column(data.table.schema.get_field_index("speaker"), "speaker", names))


def _of_two_paths(table: pa.Table) -> pa.Array:
    """True where a recording's id occurred before with another path."""
    recordings, paths = _flat(table["recording"]), _flat(table["path"])
    return pc.not_equal(paths.take(pc.index_in(recordings, value_set=recordings)), paths)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()


def subset(
    data: DataDir,
    *,
    ids: Sequence[str] | None = None,
    speakers: int | None = None,
    per_speaker: int | None = None,
    utterances: int | None = None,
    seed: int = 0,
) -> DataDir:
    """A smaller data directory: these ids, of that many speakers, at most so many of each, so many in all.

    What is drawn is drawn at random, the same for the same seed. Raises InputError for an id that is not there and
    for more speakers or utterances than there are.
    """
    if ids is not None:
        wanted = pa.array(ids, pa.string())
        unknown = wanted.filter(_missing(wanted, _flat(data.table["id"])))
        if len(unknown):
            raise InputError(f"utterance {unknown[0].as_py()!r} is not here ({len(unknown)} such ids)")
        data = data.filter(pc.is_in(data.table["id"], value_set=wanted))
    if speakers is not None:
        chosen = _draw(_speakers(data), speakers, "speakers", seed)
        data = data.filter(pc.is_in(data.table["speaker"], value_set=pa.array(chosen, pa.string())))
    random = np.random.default_rng(seed)
    if per_speaker is not None:
        data = data.filter(_rank_in_group(data.speakers, random) < per_speaker)
    if utterances is not None:
        chosen_rows = _draw(range(len(data)), utterances, "utterances", seed)
        data = DataDir(data.table.take(pa.array(sorted(chosen_rows))))
    return data


def _speakers(data: DataDir) -> list[str]:
    return sorted(data.table["speaker"].unique().to_pylist())


def _draw(among: Sequence, count: int, what: str, seed: int) -> list:
    if not 0 < count <= len(among):
        raise InputError(f"{count} {what} wanted, {len(among)} are there")
    order = np.random.default_rng(seed).permutation(len(among))
    return [among[place] for place in order[:count]]


def _rank_in_group(groups: Sequence[str], random: np.random.Generator) -> np.ndarray:
    """Each element's place (from 0) in a random order of its group."""
    codes = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)[1]
    order = np.lexsort((random.random(len(codes)), codes))
    starts = np.searchsorted(codes[order], codes[order])  # where each one's group begins in that order
    ranks = np.empty(len(codes), np.int64)
    ranks[order] = np.arange(len(codes)) - starts
    return ranks


@dataclass(frozen=True)
class Stats:
    """Counts of a data directory; durations in seconds. (least, mean, most) where there are three."""

    utterances: int
    speakers: int
    sessions: int | None
    hours: float
    seconds: tuple[float, float, float]
    per_speaker: tuple[int, float, int]
    genders: dict[str, int]


def stats(data: DataDir) -> Stats:
    """Count speakers, utterances, sessions and hours; durations not in utt2dur are read from the recordings."""
    seconds = _durations(data)
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


def _durations(data: DataDir) -> np.ndarray:
    """Seconds of every utterance: from utt2dur, else from the segment, else from the recording's header."""
    known = data.table["seconds"] if "seconds" in data.table.column_names else pa.nulls(len(data), pa.float64())
    if "start" in data.table.column_names:
        known = pc.coalesce(known, pc.subtract(data.table["end"], data.table["start"]))
    seconds = np.array(known, dtype=np.float64)
    unknown = np.flatnonzero(np.isnan(seconds))
    if len(unknown):
        paths = data.table["path"].take(pa.array(unknown)).to_pylist()
        found = read_seconds(paths)
        if None in found:
            raise InputError(f"{paths[found.index(None)]}: cannot be opened, so its duration is not known")
        seconds[unknown] = found
        if "start" in data.table.column_names:  # open-ended segments
            seconds[unknown] -= np.array(data.table["start"])[unknown]
    return seconds
