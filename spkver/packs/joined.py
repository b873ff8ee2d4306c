"""Several packs as one, for training on a corpus and its simulated copies, or on several corpora."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spkver.errors import InputError
from spkver.packs.layout import Shard
from spkver.packs.reader import Pack

if TYPE_CHECKING:
    from spkver.features.config import FrontEndBase


@dataclass(frozen=True, eq=False)
class JoinedPacks:
    """The concatenated rows of several packs; speakers of the same name are the same speaker. Use `join`.

    It has the members of `Pack` that training uses. An utterance may occur several times, from different packs.
    """

    packs: tuple[Pack, ...]
    _pack: np.ndarray  # int32 (rows,): the pack of every utterance
    _row: np.ndarray  # int64 (rows,): its row in that pack
    _named: np.ndarray | None = None  # str (rows,): other speakers than those of the packs

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, row: int) -> np.ndarray:
        """The whole payload of an utterance, as `Pack.crop` gives it."""
        return self.packs[self._pack[row]][int(self._row[row])]

    def crop(self, row: int, start: int, length: int) -> np.ndarray:
        """As `Pack.crop`."""
        return self.packs[self._pack[row]].crop(int(self._row[row]), start, length)

    def subset(self, rows: np.ndarray | Sequence[int]) -> JoinedPacks:
        """The utterances at these rows (integers in any order, or a bool mask)."""
        chosen = np.asarray(rows)
        named = None if self._named is None else self._named[chosen]
        return JoinedPacks(self.packs, self._pack[chosen], self._row[chosen], named)

    def rows_of_shard(self, number: int) -> np.ndarray:
        """As `Pack.rows_of_shard`, with shards numbered as in `shards`."""
        pack = 0
        while number >= len(self.packs[pack].shards):
            number, pack = number - len(self.packs[pack].shards), pack + 1
        row_here = np.full(len(self.packs[pack]), -1, np.int64)
        mine = np.flatnonzero(self._pack == pack)
        row_here[self._row[mine]] = mine
        rows = row_here[self.packs[pack].rows_of_shard(number)]
        return rows[rows >= 0]

    @functools.cached_property
    def shard_of(self) -> np.ndarray:
        """As `Pack.shard_of`, with shards numbered as in `shards`."""
        before = np.cumsum([0, *(len(pack.shards) for pack in self.packs)])[:-1]
        return (self._of_rows([pack.shard_of for pack in self.packs]) + before[self._pack]).astype(np.int32)

    def fetch_ahead(self, numbers: Sequence[int]) -> None:
        """As `Pack.fetch_ahead`."""
        first = 0
        for pack in self.packs:
            pack.fetch_ahead([number - first for number in numbers if 0 <= number - first < len(pack.shards)])
            first += len(pack.shards)

    def require(self, front_end: FrontEndBase) -> None:
        """As `Pack.require`, for every pack."""
        for pack in self.packs:
            pack.require(front_end)

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards of all packs, in the order of the packs."""
        return tuple(shard for pack in self.packs for shard in pack.shards)

    @property
    def pack_of(self) -> np.ndarray:
        """As `Pack.pack_of`."""
        return self._pack

    @property
    def path(self) -> Path:
        """The path of the first pack."""
        return self.packs[0].path

    @property
    def kind(self) -> str:
        """`audio` or `features`."""
        return self.packs[0].kind

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Samples or frames of every utterance, int64 (rows,)."""
        return self._of_rows([pack.lengths for pack in self.packs])

    @functools.cached_property
    def seconds(self) -> np.ndarray:
        """Duration of every utterance, float64 (rows,)."""
        return self._of_rows([pack.seconds for pack in self.packs])

    @functools.cached_property
    def ids(self) -> list[str]:
        """Utterance ids."""
        return self._words([pack.ids for pack in self.packs])

    @functools.cached_property
    def speakers(self) -> list[str]:
        """The speaker of every utterance."""
        if self._named is not None:
            return self._named.tolist()
        return self._words([pack.speakers for pack in self.packs])

    @functools.cached_property
    def sessions(self) -> list[str]:
        """The session of every utterance; empty where unknown."""
        return self._words([pack.sessions for pack in self.packs])

    def _of_rows(self, columns: Sequence[np.ndarray]) -> np.ndarray:
        first = np.cumsum([0, *(len(column) for column in columns)])[:-1]
        return np.concatenate(columns)[first[self._pack] + self._row]

    def _words(self, columns: Sequence[list[str]]) -> list[str]:
        return [columns[pack][row] for pack, row in zip(self._pack.tolist(), self._row.tolist())]


AnyPack = Pack | JoinedPacks


def join(packs: Sequence[Pack]) -> AnyPack:
    """Join packs; a single pack is returned as it is. Raises InputError if their kinds differ."""
    first = packs[0]
    if len(packs) == 1:
        return first
    for pack in packs[1:]:
        if pack.kind != first.kind:
            raise InputError(f"{pack.path}: a pack of kind {pack.kind}, but {first.path} is of kind {first.kind}")
    return _whole(packs)


def with_speakers(pack: AnyPack, speakers: Sequence[str | None]) -> JoinedPacks:
    """The utterances of a pack with other speakers, one for each row; those with None are left out."""
    whole = pack if isinstance(pack, JoinedPacks) else _whole([pack])
    kept = np.array([speaker is not None for speaker in speakers], bool)
    return replace(whole, _named=np.array(speakers, object)).subset(kept)


def _whole(packs: Sequence[Pack]) -> JoinedPacks:
    rows = [np.arange(len(pack), dtype=np.int64) for pack in packs]
    numbers = np.repeat(np.arange(len(packs), dtype=np.int32), [len(pack) for pack in packs])
    return JoinedPacks(tuple(packs), numbers, np.concatenate(rows))
