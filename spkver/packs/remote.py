"""Shards by URL: their rows are read in ranges, their payloads from whole copies in the cache.

A shard is a file of Arrow: record batches, each with its columns in order and the payloads last, and a footer that
tells where the batches are. Everything but the payloads is about a thousandth of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from spkver.errors import InputError
from spkver.files import sha256
from spkver.packs.layout import Header, Shard
from spkver.packs.rows import Rows, map_shard, parse
from spkver.storage import Url, access, cache

HEAD = 64 << 10  # bytes that are read at once of a footer or a record batch: usually all but the payloads
THREADS = 16  # shards whose rows are read at a time
_MAGIC = b"ARROW1"


def open_remote(root: Url, shards: Sequence[Shard], header: Header) -> tuple[list[Rows], RemoteShards]:
    """The rows of all shards, and the shards as bytes that are copied when they are used."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="rows") as pool:
        waiting = [pool.submit(_rows, root, shard, header) for shard in shards]
        try:
            opened = [one.result() for one in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return opened, RemoteShards(root, shards, header, opened)


class RemoteShards(Sequence[np.ndarray]):
    """The files of the shards as bytes, each mapped from the cache when it is used.

    Half of the cache at most is mapped, because a mapped file needs its place on the disk even when it is removed.
    """

    def __init__(self, root: Url, shards: Sequence[Shard], header: Header, rows: Sequence[Rows]) -> None:
        self._root, self._shards, self._header, self._rows = root, shards, header, rows
        self._open: OrderedDict[int, np.ndarray] = OrderedDict()
        self._most = cache.limit() // 2
        self._lock = threading.Lock()
        self._ahead: list[int] = []
        self._fetcher: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, number: Any) -> Any:
        with self._lock:
            if (content := self._open.get(number)) is not None:
                self._open.move_to_end(number)
                return content
        content = self._mapped(number)
        with self._lock:
            self._open[number] = content
            while len(self._open) > 1 and sum(map(len, self._open.values())) > self._most:
                self._open.popitem(last=False)
        return content

    def file(self, number: int) -> Path:
        """The copy of a shard, whose hash is the one that the pack states."""
        shard = self._shards[number]
        url = self._root / shard.file

        def make(part: Path) -> None:
            try:
                access.download(url, part, shard.bytes)
            except FileNotFoundError as error:
                raise _missing(url) from error
            if sha256(part) != shard.sha256:
                raise InputError(f"{url}: damaged (its hash differs); copy the pack to this place again")

        return cache.kept(shard.sha256, make, shard.bytes)

    def fetch_ahead(self, numbers: Sequence[int]) -> None:
        """Copy shards in a thread. Its errors come when the shards are used."""
        with self._lock:
            self._ahead = [number for number in numbers if number not in self._open]
            if self._fetcher is None:
                self._fetcher = threading.Thread(target=self._fetch, name="shards", daemon=True)
                self._fetcher.start()

    def _fetch(self) -> None:
        while True:
            with self._lock:
                if not self._ahead:
                    self._fetcher = None
                    return
                number = self._ahead.pop(0)
            with contextlib.suppress(Exception):
                self.file(number)

    def _mapped(self, number: int) -> np.ndarray:
        shard, name = self._shards[number], str(self._root / self._shards[number].file)
        while True:
            try:
                rows, content = map_shard(self.file(number), shard, self._header, name)
            except FileNotFoundError:  # another process needed the room
                continue
            if not np.array_equal(rows.offsets, self._rows[number].offsets):
                raise InputError(f"{name}: has changed since the pack was opened; run again")
            return content


def _missing(url: Url) -> InputError:
    return InputError(f"{url}: a shard of the pack is missing; copy the pack to this place again")


def _rows(root: Url, shard: Shard, header: Header) -> Rows:
    """The rows of a shard, from the cache or the server."""
    url = root / shard.file
    if url.parent != root:
        raise _missing(url)

    def make(part: Path) -> None:
        try:
            found = parse(pa.py_buffer(_without_payloads(url, shard.bytes)), shard, header, str(url))
        except FileNotFoundError as error:
            raise _missing(url) from error
        columns = {"length": found.lengths, "offset": found.offsets, "size": found.sizes}
        table = pa.table({**dict(zip(found.words.column_names, found.words.columns)), **columns})
        with pa.OSFile(str(part), "wb") as stream, pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)

    key = hashlib.sha256(f"rows of {shard.sha256}".encode()).hexdigest()
    while True:
        path = cache.kept(key, make, 200 * shard.rows, exact=False)
        try:
            with pa.OSFile(str(path)) as stream:
                table = pa.ipc.open_file(stream).read_all()
            lengths, offsets, sizes = (table[name].to_numpy() for name in ("length", "offset", "size"))
            return Rows(lengths, offsets, sizes, table.select(["id", "speaker", "session"]))
        except FileNotFoundError:  # another process needed the room
            continue
        except (pa.ArrowException, KeyError):
            cache.discard(path)


def _without_payloads(url: Url, size: int) -> mmap.mmap:
    """A shard in memory as on the server, with zeros (which need no memory) in place of the payloads."""
    memory = _empty(size)

    def load(start: int, end: int) -> None:
        memory[start:end] = access.read(url, start, end, size)

    try:
        tail = max(0, size - HEAD)
        load(tail, size)
        if memory[size - len(_MAGIC) :] != _MAGIC:
            raise ValueError(f"it does not end after {size} bytes")
        footer = size - len(_MAGIC) - 4
        footer -= _number("<i", memory, footer)
        if not 0 < footer < size:
            raise ValueError("its footer is outside it")
        if footer < tail:
            load(footer, tail)
        for offset, head, body in _batches(memory, footer):
            end = offset + head + body
            if not (offset > 0 and head > 8 and body >= 0 and end <= size):
                raise ValueError("a record batch is outside it")
            loaded = min(offset + head + HEAD, end)
            load(offset, loaded)
            payloads = offset + head + _start_of_last_column(memory, offset + 8)
            if not offset + head <= payloads <= end:
                raise ValueError("payloads are outside it")
            if payloads > loaded:
                load(loaded, payloads)
    except (ValueError, struct.error, IndexError) as error:
        raise InputError(f"{url}: damaged ({error}); copy the pack to this place again") from error
    return memory


def _empty(size: int) -> mmap.mmap:
    if hasattr(mmap, "MAP_NORESERVE"):
        return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_NORESERVE)
    return mmap.mmap(-1, size)


# --- Arrow's flatbuffers (format/File.fbs, format/Message.fbs) --------------------------------------------------------


def _batches(memory: mmap.mmap, footer: int) -> list[tuple[int, int, int]]:
    """Offset, bytes of the message and bytes of the columns of every record batch."""
    at, count = _vector(memory, _field(memory, _root(memory, footer), 3))
    return [struct.unpack_from("<qi4xq", memory, at + 24 * number) for number in range(count)]


def _start_of_last_column(memory: mmap.mmap, message: int) -> int:
    """The offset of the values of the last column from the end of the message."""
    header = _field(memory, _root(memory, message), 2)
    at, count = _vector(memory, _field(memory, header + _number("<I", memory, header), 2))
    return _number("<q", memory, at + 16 * (count - 1))


def _root(memory: mmap.mmap, at: int) -> int:
    return at + _number("<I", memory, at)


def _field(memory: mmap.mmap, table: int, slot: int) -> int:
    """Where a field of a table is."""
    fields = table - _number("<i", memory, table)
    offset = _number("<H", memory, fields + 4 + 2 * slot) if 4 + 2 * slot < _number("<H", memory, fields) else 0
    if not offset:
        raise ValueError("a field of Arrow's format is missing")
    return table + offset


def _vector(memory: mmap.mmap, field: int) -> tuple[int, int]:
    """Where the items of a vector are, and how many."""
    at = field + _number("<I", memory, field)
    return at + 4, _number("<I", memory, at)


def _number(form: str, memory: mmap.mmap, at: int) -> int:
    if at < 0:
        raise ValueError("an offset is outside it")
    found: int = struct.unpack_from(form, memory, at)[0]
    return found
