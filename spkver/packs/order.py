"""The order in which a pack is read shard by shard: random, but from few shards at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spkver.packs.joined import AnyPack


@dataclass(frozen=True)
class Order:
    """Rows of a pack in the order of reading, which goes from window to window.

    ends: int64 (windows,), the number of rows up to the end of each window; shards: the shards of each window
    """

    rows: np.ndarray
    ends: np.ndarray
    shards: list[list[int]]

    def window(self, place: int) -> int:
        """The number of the window at a place of the order."""
        return int(np.searchsorted(self.ends, place, side="right"))


def in_windows(pack: AnyPack, rows: np.ndarray, random: np.random.Generator, window_bytes: float) -> Order:
    """Shuffle the rows so that they are read from about `window_bytes` of shards at a time.

    The shards are shuffled and divided into windows of that size, and the rows of each window are shuffled.
    """
    shard_of = pack.shard_of[rows]
    shards = random.permutation(np.unique(shard_of))
    sizes = np.array([shard.bytes for shard in pack.shards], np.int64)[shards]
    window = np.unique((np.cumsum(sizes) - sizes) // max(1, int(window_bytes)), return_inverse=True)[1]
    of_shard = np.zeros(len(pack.shards), np.int64)
    of_shard[shards] = window
    of_row = of_shard[shard_of]
    order = np.lexsort((random.random(len(rows)), of_row))
    count = int(window.max(initial=-1)) + 1
    return Order(
        rows[order],
        np.cumsum(np.bincount(of_row, minlength=count)),
        [shards[window == number].tolist() for number in range(count)],
    )
