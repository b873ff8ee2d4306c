"""Read packs sequentially, for storage with slow random access and packs larger than memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import numpy as np

from spkver.errors import InputError
from spkver.packs.layout import decode
from spkver.packs.reader import Pack


def stream(
    pack: Pack, *, seed: int = 0, epoch: int = 0, side_by_side: int = 8, buffer_bytes: int = 256 << 20
) -> Iterator[tuple[int, np.ndarray]]:
    """Every utterance of a pack once, as (row, whole payload as from `Pack.crop`), shuffled anew each epoch.

    Shards are read in random order, `side_by_side` of them at a time, each sequentially, and pass through a shuffle
    buffer of `buffer_bytes`. Memory holds only the buffer. The same seed and epoch give the same order.
    """
    random = np.random.default_rng([seed, epoch])
    held: list[tuple[int, np.ndarray]] = []
    size = 0
    for item in _interleaved(pack, random, side_by_side):
        held.append(item)
        size += len(item[1])
        while size > buffer_bytes:
            row, payload = _take(held, random)
            size -= len(payload)
            yield row, decode(payload, pack.header, 0, int(pack.lengths[row]), pack.path)
    while held:
        row, payload = _take(held, random)
        yield row, decode(payload, pack.header, 0, int(pack.lengths[row]), pack.path)


def _take(held: list[tuple[int, np.ndarray]], random: np.random.Generator) -> tuple[int, np.ndarray]:
    """Remove a random item; the last one takes its place."""
    place = int(random.integers(len(held)))
    held[place], held[-1] = held[-1], held[place]
    return held.pop()


def _interleaved(pack: Pack, random: np.random.Generator, side_by_side: int) -> Iterator[tuple[int, np.ndarray]]:
    waiting = random.permutation(len(pack.shards)).tolist()
    readers: list[Iterator[tuple[int, np.ndarray]]] = []
    while waiting or readers:
        while waiting and len(readers) < side_by_side:
            readers.append(_shard(pack, waiting.pop()))
        for reader in list(readers):
            if (found := next(reader, None)) is None:
                readers.remove(reader)
            else:
                yield found


def _shard(pack: Pack, number: int) -> Iterator[tuple[int, np.ndarray]]:
    """(row, payload as bytes) of one shard, in file order, without memory map."""
    rows = pack.rows_of_shard(number)
    if not len(rows):
        return
    path = pack.file(number)
    with open(path, "rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        for row in rows.tolist():
            _, first, size = pack.place(row)
            yield row, _read(file, path, first, size)


def _read(file: FileIO, path: Path, first: int, size: int) -> np.ndarray:
    payload = np.empty(size, np.uint8)
    file.seek(first)
    done = 0
    while done < size:
        count = file.readinto(payload.data[done:])
        if not count:
            raise InputError(f"{path}: ends early: truncated or replaced; make the pack again")
        done += count
    return payload
