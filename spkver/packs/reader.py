"""Read packs by memory map: payload offsets are known after opening, and a crop is a view.

The rows of a pack by URL are read in ranges; a shard is mapped, from a local copy, when it is first used.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spkver.errors import InputError
from spkver.files import StrPath, read_json, refuse_newer, sha256
from spkver.packs.layout import DTYPES, FORMAT, INDEX, Header, Shard, decode
from spkver.packs.remote import RemoteShards, open_remote
from spkver.packs.rows import open_shard, wrong_size
from spkver.storage import Url, located

if TYPE_CHECKING:
    from spkver.features.config import FrontEndBase


@dataclass(frozen=True, eq=False, repr=False)
class Pack:
    """A pack, or a subset of its rows. Use `Pack.open`.

    Pickling is cheap: only the path and the selected rows are sent, and the receiver opens the maps.

    lengths: int64 (rows,), samples or frames of every utterance
    """

    path: Path
    header: Header
    shards: tuple[Shard, ...]
    fingerprint: str
    lengths: np.ndarray
    _maps: Sequence[np.ndarray]  # the file of every shard, as bytes
    _shard: np.ndarray  # int32 (rows,): the shard of every utterance
    _offset: np.ndarray  # int64 (rows,): byte offset of its payload in the file
    _size: np.ndarray  # int64 (rows,): size of its payload in bytes
    _words: pa.Table  # id, speaker, session
    _rows: np.ndarray | None = None  # selected rows of the files; None: all

    @classmethod
    def open(cls, path: StrPath) -> Pack:
        """Open a pack. Raises InputError naming the file that is missing, truncated or in another format."""
        root = located(path)
        index = read_index(root)
        header, shards = parse_index(root / INDEX, index)
        maps: Sequence[np.ndarray]
        if isinstance(root, Url):
            opened, maps = open_remote(root, shards, header)
        else:
            mapped = [open_shard(root, shard, header) for shard in shards]
            opened, maps = [rows for rows, _ in mapped], tuple(content for _, content in mapped)
        empty = np.empty(0, np.int64)
        return cls(
            path=root,
            header=header,
            shards=tuple(shards),
            fingerprint=str(index.get("fingerprint", "")),
            lengths=np.concatenate([empty, *(one.lengths for one in opened)]),
            _maps=maps,
            _shard=np.repeat(np.arange(len(opened), dtype=np.int32), [len(one.lengths) for one in opened]),
            _offset=np.concatenate([empty, *(one.offsets for one in opened)]),
            _size=np.concatenate([empty, *(one.sizes for one in opened)]),
            _words=pa.concat_tables([_NO_WORDS, *(one.words for one in opened)]).combine_chunks(),
        )

    def __repr__(self) -> str:
        # not the maps: to read one whose file was cut ends the process
        return f"Pack({str(self.path)!r}, {len(self)} utterances)"

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> np.ndarray:
        """The whole payload of an utterance, as `crop` gives it."""
        return self.crop(row, 0, int(self.lengths[row]))

    def crop(self, row: int, start: int, length: int) -> np.ndarray:
        """`length` samples or frames of an utterance from `start` on, as a read-only view of the memory map.

        FLAC packs are decoded instead. Returns int16 (length,) or float16 (length, bins).
        Raises IndexError for a range outside the utterance.
        """
        if start < 0 or length < 0 or start + length > self.lengths[row]:
            raise IndexError(f"row {row} has {self.lengths[row]} samples or frames, not {start} to {start + length}")
        first = int(self._offset[row])
        payload = self._maps[self._shard[row]][first : first + int(self._size[row])]
        return decode(payload, self.header, start, length, self.path)

    def subset(self, rows: np.ndarray | Sequence[int]) -> Pack:
        """The utterances at these rows (integers in any order, or a bool mask), on the same memory maps."""
        chosen = np.asarray(rows)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return replace(
            self,
            lengths=self.lengths[chosen],
            _shard=self._shard[chosen],
            _offset=self._offset[chosen],
            _size=self._size[chosen],
            _words=self._words.take(pa.array(chosen)),
            _rows=chosen if self._rows is None else self._rows[chosen],
        )

    def rows_of_shard(self, number: int) -> np.ndarray:
        """The rows of a shard, in file order."""
        rows = np.flatnonzero(self._shard == number)
        return rows[np.argsort(self._offset[rows], kind="stable")]

    @property
    def remote(self) -> bool:
        """Whether the pack is given by URL."""
        return isinstance(self.path, Url)

    @property
    def shard_of(self) -> np.ndarray:
        """The shard of every utterance, int32 (rows,)."""
        return self._shard

    @property
    def pack_of(self) -> np.ndarray:
        """The number of the pack of every utterance, int32 (rows,): always 0, see `JoinedPacks`."""
        return np.zeros(len(self), np.int32)

    def fetch_ahead(self, numbers: Sequence[int]) -> None:
        """Begin to copy shards of a pack by URL that will be read soon. Returns at once."""
        if isinstance(self._maps, RemoteShards):
            self._maps.fetch_ahead(numbers)

    def verify_shard(self, number: int) -> None:
        """Check the hash of one file. Raises InputError if it differs."""
        if isinstance(self._maps, RemoteShards):
            self._maps.file(number)
        elif reason := damage(self.path, self.shards[number]):
            raise InputError(reason)

    def require(self, front_end: FrontEndBase) -> None:
        """Check that the pack matches a front end. Dither may differ: it is used in training only.

        Raises InputError for audio of another sample rate, and for features of another front end.
        """
        if self.front_end is None:
            if self.sample_rate != front_end.sample_rate:
                raise InputError(
                    f"{self.path}: audio at {self.sample_rate} Hz, the front end takes {front_end.sample_rate} Hz; "
                    f"pack it with --sample-rate {front_end.sample_rate}, or change front_end.sample_rate"
                )
            return
        made = {"name": "fbank", **self.front_end}  # old packs have no name: fbank was the only front end
        for key, value in front_end.model_dump(mode="json", exclude={"dither"}).items():
            if made.get(key) != value:
                raise InputError(
                    f"{self.path}: features made with {key} {made.get(key)}, the front end has {key} "
                    f"{value}; make them again with 'spkver features ... {key}={value}', or change the front end"
                )

    @property
    def kind(self) -> str:
        """`audio` or `features`."""
        return self.header.kind

    @property
    def sample_rate(self) -> int:
        """The sample rate of the audio, or of the audio that the features were made from, in Hz."""
        return self.header.sample_rate

    @property
    def front_end(self) -> dict[str, Any] | None:
        """The config of the front end as plain values; None for audio."""
        return self.header.front_end

    @property
    def bins(self) -> int | None:
        """Values per frame; None for audio."""
        return self.header.bins

    @property
    def seconds(self) -> np.ndarray:
        """Duration of every utterance, float64 (rows,)."""
        return self.lengths / self.header.units_per_second

    @functools.cached_property
    def ids(self) -> list[str]:
        """Utterance ids."""
        return self._words["id"].to_pylist()

    @functools.cached_property
    def speakers(self) -> list[str]:
        """The speaker of every utterance."""
        return self._words["speaker"].to_pylist()

    @functools.cached_property
    def sessions(self) -> list[str]:
        """The session of every utterance; empty where unknown."""
        return self._words["session"].to_pylist()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self._rows)


def _reopen(path: Path, rows: np.ndarray | None) -> Pack:
    pack = Pack.open(path)
    return pack if rows is None else pack.subset(rows)


def open_audio(path: StrPath, sample_rate: int) -> Pack:
    """Open an audio pack. Raises InputError for features, another sample rate (Hz), and an empty pack."""
    pack = Pack.open(path)
    if pack.kind != "audio":
        raise InputError(f"{path}: a feature pack; give the audio pack that it was made from")
    if pack.sample_rate != sample_rate:
        raise InputError(
            f"{path}: audio at {pack.sample_rate} Hz, not {sample_rate}; pack it with --sample-rate {sample_rate}"
        )
    if not len(pack):
        raise InputError(f"{path}: no recordings; pack it again, possibly with --min-seconds 0")
    return pack


_NO_WORDS = pa.table({name: pa.array([], pa.string()) for name in ("id", "speaker", "session")})


def read_index(root: Path) -> Any:
    """The content of pack.json. Raises InputError if it is missing."""
    if not (root / INDEX).is_file():
        raise InputError(f"{root}: not a pack (no {INDEX}); make one with 'spkver pack' or 'spkver features'")
    return read_json(root / INDEX)


def parse_index(path: Path, index: Any) -> tuple[Header, list[Shard]]:
    """Header and shards from the content of pack.json. Raises InputError for an invalid index."""
    refuse_newer(path, index, FORMAT)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise InputError(f"{path}: not a pack of format {FORMAT}; make it again with this version")
    try:
        words = index["kind"], int(index["sample_rate"]), index["front_end"]
        header = Header(*words, index.get("coding", "pcm"), index.get("simulation"))
        _check_header(header)
        shards = [_parse_shard(**entry) for entry in index["shards"]]
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise InputError(f"{path}: invalid index of a pack ({error!r}); make the pack again") from error
    return header, shards


def _check_header(header: Header) -> None:
    if header.coding not in ("pcm", "flac") or (header.coding == "flac" and header.kind != "audio"):
        raise ValueError(f"coding {header.coding!r}")
    if header.kind not in DTYPES or not isinstance(header.front_end, dict if header.kind == "features" else NoneType):
        raise ValueError(f"{header.kind!r} with the front end {header.front_end!r}")
    if not (header.sample_rate > 0 and 0 < header.units_per_second < math.inf and 0 < (header.bins or 1) < 1 << 20):
        raise ValueError(f"{header.sample_rate} Hz, {header.units_per_second:g} a second, {header.bins} bins")


def _parse_shard(file: Any, rows: Any, bytes: Any, sha256: Any, length: Any) -> Shard:
    if not (isinstance(file, str) and isinstance(sha256, str)):
        raise TypeError(f"file {file!r}, sha256 {sha256!r}")
    return Shard(file, int(rows), int(bytes), sha256, int(length))


def damage(root: Path, shard: Shard) -> str | None:
    """Why a file of a pack differs from what was written, or None. Reads the whole file."""
    if reason := wrong_size(root, shard):
        return reason
    if sha256(root / shard.file) != shard.sha256:
        return f"{root / shard.file}: damaged (its hash differs); delete the pack and make it again"
    return None
