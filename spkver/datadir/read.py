"""Read and check data directories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver import audio
from spkver.datadir.seconds import read_seconds
from spkver.datadir.table import CHANNELS, OF_SPEAKERS, OF_UTTERANCES, WORD, DataDir, absent, look_up, repeated
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.lists import NUMBER, read_columns
from spkver.storage import located


@dataclass(frozen=True)
class Problem:
    """One kind of problem: what it is, how often it occurs, and the first place (file:line: word).

    A directory with a `fatal` problem cannot be read; other problems are warnings.
    """

    what: str
    count: int
    first: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.first}: {self.what}" + (f" ({self.count} times)" if self.count > 1 else "")


def read_datadir(path: StrPath, *, allow_pipes: bool = False) -> DataDir:
    """Read a data directory. The lines of its files may have any order.

    Raises InputError with file and line for the first fatal problem, and for shell commands without `allow_pipes`.
    """
    raw = _Raw(located(path))
    problem = next((problem for problem in raw.problems(allow_pipes) if problem.fatal), None)
    if problem is not None:
        raise InputError(f"{problem}; 'spkver data validate {path}' lists every problem")
    return DataDir(raw.joined())


def validate(path: StrPath, *, allow_pipes: bool = False, look_at_recordings: bool = True) -> list[Problem]:
    """Check a data directory; returns one Problem per kind.

    With `look_at_recordings`, every recording must exist, open and contain its segments; this reads each header once.
    A file that cannot be split into columns is a Problem.
    """
    try:
        raw = _Raw(located(path))
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
        if not (root / "wav.scp").exists():
            raise InputError(f"{root}: not a data directory (no wav.scp); make one with 'python -m data_prep.folder'")
        self.root = root
        self.wav = self._read("wav.scp", "recording", "path", rest=True)
        self.speakers = self._read("utt2spk", "id", "speaker")
        self.segments = None
        if (root / "segments").exists():
            self.segments = self._read("segments", "id", "recording", "start", "end")
            self.segments["start"] = self._numbers("segments", self.segments["start"])
            self.segments["end"] = self._numbers("segments", self.segments["end"], negative=True)  # to the end
        self.of_utterances = self._read_present(OF_UTTERANCES, "id")
        self.of_speakers = self._read_present(OF_SPEAKERS, "speaker")
        self.channels = self._read(CHANNELS, "recording", "file", "channel") if (root / CHANNELS).exists() else None
        if self.channels:
            self.channels["channel"] = self._channels(self.channels["channel"])
        if durations := self.of_utterances.get("seconds"):
            durations["seconds"] = self._numbers("utt2dur", durations["seconds"])

    @property
    def ids(self) -> pa.Array:
        """The utterance ids: those in `segments`, or without that file the recording ids."""
        return self.segments["id"] if self.segments else self.wav["recording"]

    @property
    def utterances_file(self) -> str:
        return "segments" if self.segments else "wav.scp"

    def joined(self) -> pa.Table:
        columns = {"id": self.ids, "speaker": look_up(self.ids, self.speakers["id"], self.speakers["speaker"])}
        columns["recording"] = self.segments["recording"] if self.segments else self.ids
        columns["path"] = look_up(columns["recording"], self.wav["recording"], self.wav["path"])
        if self.channels:
            columns["channel"] = look_up(columns["recording"], self.channels["recording"], self.channels["channel"])
        if self.segments:
            end = self.segments["end"]
            columns["start"] = self.segments["start"]
            columns["end"] = pc.if_else(pc.less(end, 0.0), pa.scalar(None, pa.float64()), end)
        for found, key in ((self.of_utterances, "id"), (self.of_speakers, "speaker")):
            for name, pairs in found.items():
                columns[name] = look_up(columns[key], pairs[key], pairs[name])
        return pa.table(columns).sort_by("id")

    def problems(self, allow_pipes: bool) -> Iterator[Problem]:
        """Problems that the lists alone show."""
        of = self.utterances_file
        keyed = [("wav.scp", self.wav["recording"]), ("utt2spk", self.speakers["id"])]
        keyed += [("segments", self.segments["id"])] if self.segments else []
        keyed += [(CHANNELS, self.channels["recording"])] if self.channels else []
        keyed += [(OF_UTTERANCES[name], pairs["id"]) for name, pairs in self.of_utterances.items()]
        keyed += [(OF_SPEAKERS[name], pairs["speaker"]) for name, pairs in self.of_speakers.items()]
        if not len(self.ids):
            yield Problem("has no utterances", 1, str(self.root / of))
        for file, keys in keyed:
            yield from self._problem(file, keys, repeated(keys), "occurs more than once")
        ids, speakers = self.ids, self.speakers["id"]
        for file, keys, words in ((of, ids, ids), ("utt2spk", speakers, self.speakers["speaker"])):
            spoilt = pc.invert(pc.match_substring_regex(words, WORD))
            yield from self._problem(file, keys, spoilt, "has blanks or control characters; other tools split it there")
        yield from self._problem(of, ids, absent(ids, speakers), "has no speaker in utt2spk")
        yield from self._problem("utt2spk", speakers, absent(speakers, ids), f"is not in {of}")
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
            missing = absent(ids, pairs["id"])
            yield from self._problem(of, ids, missing, f"is not in {OF_UTTERANCES[name]}", fatal=False)
        for name, pairs in self.of_speakers.items():
            missing = absent(self.speakers["speaker"], pairs["speaker"])
            what = f"has a speaker that is not in {OF_SPEAKERS[name]}"
            yield from self._problem("utt2spk", speakers, missing, what, fatal=False)

    def _problems_of_segments(self) -> Iterator[Problem]:
        assert self.segments is not None
        ids, start, end = self.segments["id"], self.segments["start"], self.segments["end"]
        missing = absent(self.segments["recording"], self.wav["recording"])
        yield from self._problem("segments", ids, missing, "is part of a recording that is not in wav.scp")
        backwards = pc.or_(pc.less(start, 0.0), pc.and_(pc.greater_equal(end, 0.0), pc.less_equal(end, start)))
        yield from self._problem("segments", ids, backwards, "does not end after it starts")

    def problems_of_recordings(self) -> Iterator[Problem]:
        """Problems that show when every recording is opened."""
        known = self.wav["recording"]
        paths = self.wav["path"].to_pylist()
        lengths = read_seconds(paths)
        lost = pa.array([length is None and not audio.is_pipe(path) for length, path in zip(lengths, paths)])
        yield from self._problem("wav.scp", known, lost, "names a recording that is missing or cannot be opened")
        recordings = self.segments["recording"] if self.segments else self.ids
        length = look_up(recordings, known, pa.array(lengths, pa.float64()))
        if self.segments:
            start, end = self.segments["start"], self.segments["end"]
            limit = pc.add(length, audio.OVERSHOOT_SECONDS)
            over = pc.or_(pc.greater(end, limit), pc.greater_equal(start, length))
            over = pc.fill_null(over, False)
            yield from self._problem("segments", self.segments["id"], over, "lies outside its recording")
            end = pc.if_else(pc.less(end, 0.0), length, pc.min_element_wise(end, length, skip_nulls=False))
            length = pc.subtract(end, start)
        if durations := self.of_utterances.get("seconds"):
            found = look_up(durations["id"], self.ids, length)
            off = pc.abs(pc.subtract(durations["seconds"], found))
            off = pc.fill_null(pc.greater(off, pc.add(0.1, pc.multiply(found, 0.01))), False)
            what = "has a duration that differs from its recording by more than 0.1 s + 1 %"
            yield from self._problem("utt2dur", durations["id"], off, what, fatal=False)

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
            place = f"{self.root / CHANNELS}:{line + 1}"
            raise InputError(f"{place}: expected a channel such as A or B, got {text[line].as_py()!r}")
        known = {word: ord(word) - ord("A") if word.isalpha() else int(word) - 1 for word in text.unique().to_pylist()}
        return pa.array([known[word] for word in text.to_pylist()], pa.int64())

    def _numbers(self, file: str, text: pa.Array, negative: bool = False) -> pa.Array:
        good = pc.match_substring_regex(text, f"^{NUMBER}$")
        values = pc.utf8_ltrim(pc.if_else(good, text, "nan"), "+").cast(pa.float64())
        good = pc.and_(pc.is_finite(values), pc.or_(pc.greater_equal(values, 0.0), negative))
        if not pc.all(good).as_py() and len(good):
            line = pc.index(good, False).as_py()
            raise InputError(f"{self.root / file}:{line + 1}: expected seconds, got {text[line].as_py()!r}")
        return values


def _falls(keys: pa.Array) -> np.ndarray:
    """True for each key that is smaller than the one before."""
    falls = np.zeros(len(keys), bool)
    if len(keys) > 1:
        falls[1:] = pc.less(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    return falls
