"""Open the utterances of a corpus: a data directory, an audio pack or a feature pack.

Only this module decides which of them a path is. Code that reads a corpus uses `open_source`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from spkver import audio
from spkver.datadir import DataDir, durations, read_datadir
from spkver.errors import InputError
from spkver.files import StrPath, file_state, fingerprint
from spkver.packs.layout import INDEX
from spkver.packs.reader import Pack
from spkver.storage import located

if TYPE_CHECKING:
    from spkver.features.config import FrontEndBase

Read = Callable[[int, int], np.ndarray]
"""Samples [first, last) of a recording, float32 in [-1, 1]"""

TAGS = ("session", "language", "genre", "gender", "age")


class Source(ABC):
    """The utterances of a corpus.

    name: for messages; kind: "audio" or "features"
    tags: values of TAGS for each utterance, if the corpus has them
    """

    kind: str = "audio"

    def __init__(
        self, name: str, ids: list[str], speakers: list[str], tags: Mapping[str, Sequence[str | None]] | None = None
    ) -> None:
        self.name, self.ids, self.speakers, self.tags = name, ids, speakers, dict(tags or {})

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def seconds(self) -> np.ndarray:
        """The duration of every utterance, float64 (utterances,)."""

    @abstractmethod
    def read(self, row: int, seconds: float | None = None) -> tuple[np.ndarray, int]:
        """An utterance and its sample rate in Hz: float32 (time,) in [-1, 1], or features, float16 (frames, bins).

        seconds: only the middle part, this long; a shorter utterance is read as a whole
        Raises InputError if it cannot be read.
        """

    @abstractmethod
    def open(self, row: int) -> tuple[int, Read]:
        """The number of samples of an utterance, and a function that reads some of them.

        Memory does not grow with the length of the recording. Raises InputError if it cannot be read.
        """

    def lengths(self, seconds: float | None = None) -> np.ndarray | None:
        """The length of what `read` returns for every utterance, in seconds, float64 (utterances,).

        Equal values are equal numbers of samples or frames. None if the lengths are not known without reading.
        """
        return None

    @abstractmethod
    def table(self) -> pa.Table:
        """A table of all utterances: columns id and speaker, and session, seconds, ... if known."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the utterances, without the content of recordings."""

    def stamp(self, rows: Iterable[int]) -> str:
        """A fingerprint of the files of the recordings of some rows; empty if `fingerprint` has their content."""
        return ""

    def warning(self) -> str | None:
        """A warning if the sample rates of the recordings do not suit the model, see `audio.rate_warning`; or None."""
        return None

    def audio(self) -> Source:
        """This source. Raises InputError for features, which have no samples."""
        if self.kind != "audio":
            raise InputError(f"{self.name}: a feature pack; give the audio pack that it was made from")
        return self


class Recordings(Source):
    """A data directory.

    sample_rate: Hz; recordings of other rates are resampled. By default each keeps its own rate.
    channel: of recordings whose channel the data directory does not state, as for `audio.read`
    """

    def __init__(
        self,
        data: DataDir,
        name: str = "recordings",
        *,
        sample_rate: int | None = None,
        allow_pipes: bool = False,
        channel: int | None = None,
    ) -> None:
        tags = {tag: values for tag in TAGS if (values := data.column(tag)) is not None}
        super().__init__(name, data.ids, data.speakers, tags)
        self._data = data
        self._places = [
            place if place.channel is not None else place._replace(channel=channel) for place in data.places()
        ]
        self._rate, self._allow_pipes = sample_rate, allow_pipes

    def seconds(self) -> np.ndarray:
        """See Source."""
        return durations(self._data)

    def read(self, row: int, seconds: float | None = None) -> tuple[np.ndarray, int]:
        """See Source."""
        waveform, rate = audio.read(
            **self._places[row]._asdict(), sample_rate=self._rate, allow_pipes=self._allow_pipes
        )
        first, length = _middle(len(waveform), seconds, rate)
        return waveform[first : first + length], rate

    def open(self, row: int) -> tuple[int, Read]:
        """See Source. A pipe is read as a whole."""
        path, start, end, channel = self._places[row]
        if audio.is_pipe(path):
            waveform, _ = self.read(row)
            return len(waveform), lambda first, last: waveform[first:last]
        rate = self._rate or next(iter(audio.sample_rates([path])))

        def read(first: int, last: int) -> np.ndarray:
            # a little more than needed, as times are rounded to samples of the file
            upto = start + last / rate + 1e-3
            part, _ = audio.read(path, rate, start=start + first / rate, end=upto, channel=channel)
            # the stated length of an MP3 file is accurate to about a frame
            return np.pad(part[: last - first], (0, max(0, last - first - len(part))))

        whole = audio.seconds(path)
        return int((min(end or whole, whole) - start) * rate + 1e-6), read

    def table(self) -> pa.Table:
        """See Source."""
        return self._data.table

    def fingerprint(self) -> str:
        """See Source."""
        return fingerprint(self._rate, rows=zip(self.ids, self.speakers, self._places))

    def stamp(self, rows: Iterable[int]) -> str:
        """See Source."""
        return fingerprint([file_state(path) for path in dict.fromkeys(self._places[row].path for row in rows)])

    def warning(self) -> str | None:
        """See Source."""
        return audio.rate_warning(audio.sample_rates(self._data.paths), self._rate) if self._rate else None


class PackSource(Source):
    """An audio pack or a feature pack."""

    def __init__(self, pack: Pack) -> None:
        tags = {"session": pack.sessions} if any(pack.sessions) else {}
        super().__init__(str(pack.path), pack.ids, pack.speakers, tags)
        self.kind = pack.kind
        self._pack = pack

    def seconds(self) -> np.ndarray:
        """See Source."""
        return self._pack.seconds

    def read(self, row: int, seconds: float | None = None) -> tuple[np.ndarray, int]:
        """See Source."""
        payload = self._pack.crop(row, *_middle(int(self._pack.lengths[row]), seconds, self._per_second))
        return (audio.from_int16(payload) if self.kind == "audio" else payload), self._pack.sample_rate

    def open(self, row: int) -> tuple[int, Read]:
        """See Source."""
        self.audio()
        return int(self._pack.lengths[row]), lambda first, last: audio.from_int16(
            self._pack.crop(row, first, last - first)
        )

    def lengths(self, seconds: float | None = None) -> np.ndarray:
        """See Source."""
        lengths = self._pack.lengths
        lengths = lengths if seconds is None else np.minimum(lengths, _units(seconds, self._per_second))
        return lengths / self._per_second

    def table(self) -> pa.Table:
        """See Source."""
        return pa.table({"id": self.ids, "speaker": self.speakers, **self.tags, "seconds": self.seconds()})

    def fingerprint(self) -> str:
        """See Source."""
        return fingerprint([shard.sha256 for shard in self._pack.shards])

    @property
    def _per_second(self) -> float:
        return self._pack.header.units_per_second


def open_source(path: StrPath, *, front_end: FrontEndBase | None = None, allow_pipes: bool = False) -> Source:
    """Open a data directory, an audio pack or a feature pack.

    front_end: front end of the model that will use it; recordings are then read at its sample rate
    allow_pipes: run the shell commands in wav.scp
    Raises InputError for a pack of another sample rate or front end, and as `read_datadir` and `Pack.open` do.
    """
    if not (located(path) / INDEX).is_file():
        data = read_datadir(path, allow_pipes=allow_pipes)
        rate = None if front_end is None else front_end.sample_rate
        return Recordings(data, str(path), sample_rate=rate, allow_pipes=allow_pipes)
    pack = Pack.open(path)
    if front_end is not None:
        pack.require(front_end)
    return PackSource(pack)


def _middle(length: int, seconds: float | None, per_second: float) -> tuple[int, int]:
    """First sample (or frame) and length of the middle part."""
    part = length if seconds is None else min(length, _units(seconds, per_second))
    return (length - part) // 2, part


def _units(seconds: float, per_second: float) -> int:
    return max(1, round(seconds * per_second))
