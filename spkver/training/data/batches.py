"""Batches as a function of the step: the same seed and step always give the same batch.

So a resumed run needs no state of the data, and threads can prepare batches ahead of the loop. With `Positives`, they
also depend on its nearest recordings, which change at certain steps only.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spkver.augment.draw import Drawn
from spkver.augment.speed import change_speed
from spkver.errors import InputError
from spkver.packs.joined import AnyPack
from spkver.packs.order import Order, in_windows
from spkver.training.data.classes import classes_of
from spkver.training.data.positives import Positives

ORDER, CROPS, TURNS, AUGMENTATION, POSITIVES, EXAMPLES = 0, 1, 2, 3, 4, 5  # what a random stream is for


@dataclass(frozen=True)
class Batch:
    """Crops as stored in the pack, grouped by speed.

    groups: (speed, payload int16 (rows, samples) or float16 (rows, frames, bins))
    labels: int64 (batch,), in the order of the groups; rows: rows of the pack, in the same order
    crop: samples or frames that the network gets
    first: position of the first sample in the step's whole batch, which augmentations depend on
    drawn: the random choices of the augmentations, in their order
    local: shorter crops of the same recordings
    """

    groups: list[tuple[float, Tensor]]
    labels: Tensor
    rows: np.ndarray
    crop: int
    first: int = 0
    drawn: tuple[Drawn, ...] = ()
    local: Batch | None = None

    def each(self, change: Callable[[Tensor], Any]) -> Batch:
        """The batch with a function applied to every tensor."""
        groups = [(speed, change(payload)) for speed, payload in self.groups]
        drawn = tuple({name: change(tensor) for name, tensor in one.items()} for one in self.drawn)
        local = None if self.local is None else self.local.each(change)
        return replace(self, groups=groups, labels=change(self.labels), drawn=drawn, local=local)

    def to(self, device: torch.device) -> Batch:
        """A copy on a GPU. The copy is asynchronous and may not be complete on return."""
        return self.each(lambda tensor: _pinned(tensor).to(device, non_blocking=True))


@dataclass(frozen=True)
class Share:
    """The part of every batch that process `rank` of `size` makes, and the shards it reads.

    Every process draws the whole batch in the same way, and reads the crops of its own part. With `nodes` > 1 each
    node draws its part of the batch from its own shards (numbers node, node + nodes, ...), and its processes divide
    that part. The order of utterances then differs from that of one node, and an epoch is counted for each node.
    """

    rank: int = 0
    size: int = 1
    node: int = 0
    nodes: int = 1


ALL = Share()


@dataclass(frozen=True)
class Local:
    """Shorter crops in addition to those of a batch, of its utterances in turn.

    crops: number for each speaker of the batch, or without utterances_per_speaker for each utterance
    length: samples or frames
    """

    crops: int
    length: int


class _Drawn(NamedTuple):
    """Utterances of a batch: arrays (N,), in which those of a speaker follow each other."""

    rows: np.ndarray
    """rows of the pack"""
    speeds: np.ndarray
    """indices of speeds"""
    speakers: np.ndarray
    """numbers of speakers, for the labels"""


class Sampler:
    """Random crops of a pack: every utterance once per epoch, in random order.

    crop: samples or frames that the network gets, or a function from the step to that number; shorter utterances are
        repeated
    speeds: one is drawn for every crop; a speaker is another class at each, unless `same_speaker_at_all_speeds`
    utterances_per_speaker: every batch has this many utterances of each of its speakers, at one speed. All speakers
        come equally often, whatever their number of utterances, and so do the utterances of a speaker; a speaker with
        too few utterances repeats them with other crops
    local: shorter crops that each batch also has
    positives (an attribute): speakers whose utterances take the places of all but a speaker's first one
    classes (an attribute): the classes of the loss, in the order of their labels
    plain (an attribute): the label of each speaker at speed 1, or None without that speed
    share: the part of each batch that `batch` returns
    window_bytes: read the pack shard by shard, mixing the utterances of about this many bytes of shards at a time; by
        default any utterance may follow any other
    Raises InputError if there are fewer speakers than a batch needs, if the batch cannot be divided evenly, and for a
    node without shards.
    """

    def __init__(
        self,
        pack: AnyPack,
        *,
        batch_size: int,
        crop: int | Callable[[int], int],
        speeds: tuple[float, ...],
        seed: int,
        utterances_per_speaker: int | None = None,
        same_speaker_at_all_speeds: bool = False,
        share: Share = ALL,
        window_bytes: float | None = None,
        local: Local | None = None,
    ) -> None:
        self.local = local
        self.positives: Positives | None = None
        self._window_bytes = window_bytes
        self._announced: tuple[int, int] | None = None
        self.pack, self.batch_size, self.speeds, self.seed = pack, batch_size, speeds, seed
        self._crop_of = crop
        self.share = share
        if batch_size % share.size:
            below = batch_size - batch_size % share.size
            raise InputError(
                f"train.batch_size {batch_size} cannot be divided evenly over {share.size} processes; "
                f"set it to {below or share.size} or {below + share.size}"
            )
        self.utterances_per_speaker = utterances_per_speaker
        self.speakers = sorted(set(pack.speakers))
        number = {speaker: index for index, speaker in enumerate(self.speakers)}
        self.labels = np.array([number[speaker] for speaker in pack.speakers], dtype=np.int64)
        apart = (1.0,) if same_speaker_at_all_speeds else speeds
        self.classes, classes = classes_of(self.speakers, apart)
        self._classes = np.broadcast_to(classes, (len(speeds), len(self.speakers)))
        self.plain = classes[apart.index(1.0)] if 1.0 in apart else None
        self._own = _rows_of_node(pack, share)
        self._epoch = functools.lru_cache(maxsize=2)(self._order_of_epoch)
        self._rows_of = np.split(np.argsort(self.labels, kind="stable"), np.cumsum(np.bincount(self.labels))[:-1])
        if utterances_per_speaker and len(self.speakers) < (needed := batch_size // utterances_per_speaker):
            raise InputError(
                f"{pack.path}: {len(self.speakers)} speakers, but a batch of {batch_size} with "
                f"{utterances_per_speaker} utterances of each needs {needed}; lower train.batch_size"
            )

    @property
    def local_size(self) -> int:
        """Number of short crops of a batch, over all processes."""
        return 0 if self.local is None else self.batch_size // (self.utterances_per_speaker or 1) * self.local.crops

    @property
    def steps_per_round(self) -> int:
        """Number of batches that have every speaker once, with utterances_per_speaker."""
        return len(self.speakers) // (self.batch_size // (self.utterances_per_speaker or 1))

    @property
    def steps_per_epoch(self) -> float:
        """Number of batches with as many utterances as the pack; not an integer."""
        return len(self.pack) / self.batch_size

    def crop_at(self, step: int) -> int:
        """The crop of a step."""
        return self._crop_of if isinstance(self._crop_of, int) else self._crop_of(step)

    def batch(self, step: int) -> Batch:
        """This process's part of the batch of a step (from 0)."""
        self._announce(step)
        drawn, random = self._draw(step)
        batch = self._read(drawn, self.crop_at(step), random)
        if self.local is None:
            return batch
        places = np.arange(len(drawn.rows)).reshape(-1, self.utterances_per_speaker or 1)
        in_turn = places[:, np.arange(self.local.crops) % places.shape[1]].ravel()
        local = _Drawn(*(values[in_turn] for values in drawn))
        return replace(batch, local=self._read(local, self.local.length, random))

    def examples(self, most: int) -> Iterator[tuple[int, Batch]]:
        """Crops of at most `most` utterances of each pack, at their own speed: batches with the number of the pack."""
        order, crop = self._epoch(0).rows, self.crop_at(0)
        of_order, random = self.pack.pack_of[order], np.random.default_rng([self.seed, EXAMPLES])
        for number in np.unique(of_order).tolist():
            rows = order[of_order == number][:most]
            for some in np.array_split(rows, -(-len(rows) // self.batch_size)):
                starts = random.integers(0, np.maximum(self.pack.lengths[some] - crop, 0) + 1)
                groups = [(1.0, self._crops(some, starts, crop))]
                yield number, Batch(groups, torch.from_numpy(self.labels[some]), some, crop)

    def rows(self, step: int) -> np.ndarray:
        """The rows of the pack in this process's part of the batch of a step."""
        rows = self._draw(step)[0].rows
        return rows[self._mine(len(rows))]

    def _draw(self, step: int) -> tuple[_Drawn, np.random.Generator]:
        """The utterances of the batches of all processes, and the generator for their crops."""
        each = self.utterances_per_speaker or 1
        rows = self._rows(step) if self.utterances_per_speaker is None else self._rows_by_speaker(step, each)
        random = np.random.default_rng([self.seed, CROPS, step, self.share.node])
        speeds = random.integers(0, len(self.speeds), len(rows) // each).repeat(each)
        order = np.argsort(speeds, kind="stable")
        speakers = self.labels[rows[::each]].repeat(each)
        return _Drawn(rows[order], speeds[order], speakers[order]), random

    def _mine(self, number: int) -> slice:
        """This process's part of the utterances of its node."""
        size = number * self.share.nodes // self.share.size
        first = self.share.rank * size - self.share.node * number
        return slice(first, first + size)

    def _read(self, drawn: _Drawn, crop: int, random: np.random.Generator) -> Batch:
        """Random crops of this process's part of the utterances."""
        lengths = np.array([_length(crop, speed) for speed in self.speeds])[drawn.speeds]
        starts = random.integers(0, np.maximum(self.pack.lengths[drawn.rows] - lengths, 0) + 1)
        part = self._mine(len(drawn.rows))
        starts, (rows, speeds, speakers) = starts[part], (values[part] for values in drawn)
        groups = []
        for index in np.unique(speeds).tolist():
            mine = speeds == index
            length = _length(crop, self.speeds[index])
            groups.append((self.speeds[index], self._crops(rows[mine], starts[mine], length)))
        labels = torch.from_numpy(self._classes[speeds, speakers])
        return Batch(groups, labels, rows, crop, first=self.share.rank * len(rows))

    def _rows(self, step: int) -> np.ndarray:
        size = self.batch_size // self.share.nodes
        epoch, place = divmod(step * size, len(self._own))
        parts: list[np.ndarray] = []
        while size > 0:
            parts.append(self._epoch(epoch).rows[place : place + size])
            size -= len(parts[-1])
            epoch, place = epoch + 1, 0
        return np.concatenate(parts)

    def _order_of_epoch(self, epoch: int) -> Order:
        random = np.random.default_rng([self.seed, ORDER, epoch, self.share.node])
        if self._window_bytes is None:
            return Order(random.permutation(self._own), np.array([len(self._own)]), [[]])
        return in_windows(self.pack, self._own, random, self._window_bytes)

    def _announce(self, step: int) -> None:
        """Let the pack fetch the shards of the window of a step, and of the next window."""
        if self._window_bytes is None or self.utterances_per_speaker:
            return
        epoch, place = divmod(step * (self.batch_size // self.share.nodes), len(self._own))
        order = self._epoch(epoch)
        window = order.window(place)
        if self._announced != (epoch, window):
            self._announced = epoch, window
            last = window + 1 == len(order.shards)
            self.pack.fetch_ahead(
                order.shards[window] + (self._epoch(epoch + 1).shards[0] if last else order.shards[window + 1])
            )

    def _rows_by_speaker(self, step: int, each: int) -> np.ndarray:
        number = self.batch_size // each
        # each round uses a speaker at most once, so no batch contains a speaker twice
        turn, place = divmod(step, self.steps_per_round)
        order = np.random.default_rng([self.seed, ORDER, turn]).permutation(len(self.speakers))
        speakers = order[place * number : (place + 1) * number]
        if self.positives is None:
            return np.concatenate([self._turn(speaker, turn, each) for speaker in speakers.tolist()])
        random = np.random.default_rng([self.seed, POSITIVES, step])
        of_places = np.column_stack([speakers, self.positives.draw(speakers, each - 1, random)])
        return np.array(
            [self._turn(one, turn, each)[place] for row in of_places.tolist() for place, one in enumerate(row)]
        )

    def _turn(self, speaker: int, turn: int, each: int) -> np.ndarray:
        rows = self._rows_of[speaker]
        cycle, block = divmod(turn, max(1, len(rows) // each))
        order = np.random.default_rng([self.seed, TURNS, speaker, cycle]).permutation(rows)
        return np.resize(order, max(len(rows), each))[block * each : (block + 1) * each]

    def _crops(self, rows: np.ndarray, starts: np.ndarray, length: int) -> Tensor:
        crops = [self._crop(row, start, length) for row, start in zip(rows.tolist(), starts.tolist())]
        return torch.from_numpy(np.stack(crops))

    def _crop(self, row: int, start: int, length: int) -> np.ndarray:
        have = int(self.pack.lengths[row])
        if have >= length:
            return self.pack.crop(row, start, length)
        whole = self.pack[row]
        return np.concatenate([whole] * -(-length // have))[:length]


def _length(crop: int, speed: float) -> int:
    """Length of the crop before the change of speed, enough for `crop` after it."""
    return crop if speed == 1.0 else int(np.ceil(crop * speed)) + 1


def _rows_of_node(pack: AnyPack, share: Share) -> np.ndarray:
    """The rows of the shards that a node reads; all rows if the shards are not divided."""
    if share.nodes == 1:
        return np.arange(len(pack))
    if share.nodes > len(pack.shards):
        raise InputError(
            f"{pack.path}: {len(pack.shards)} shards cannot be divided over {share.nodes} nodes; "
            "use more shards, or set data.shards to all"
        )
    rows = np.concatenate([pack.rows_of_shard(number) for number in range(share.node, len(pack.shards), share.nodes)])
    if not len(rows):
        raise InputError(f"{pack.path}: the shards of node {share.node} are empty; set data.shards to all")
    return np.sort(rows)


def to_waveform(batch: Batch) -> Tensor:
    """The waveforms of an audio batch with their speeds applied: float32 (batch, batch.crop) in [-1, 1]."""
    played = (change_speed(payload.float() / 32768.0, speed) for speed, payload in batch.groups)
    return torch.cat([waveform[:, : batch.crop] for waveform in played])


class Prefetcher:
    """Prepares the batches of the steps [first, last) in threads, a few ahead, and counts the seconds spent waiting.

    make: makes the batch of a step on the host; called by several threads
    device: where the batches go; they are copied to a GPU from page-locked memory on a separate stream, in parallel
        with the computation
    threads: default 1 for the CPU and 4 for a GPU
    every: the batch of a multiple of this many steps, and those after it, are not prepared before the step before it
        has ended
    """

    def __init__(
        self,
        make: Callable[[int], Batch],
        first: int,
        last: int,
        *,
        device: torch.device,
        threads: int | None = None,
        every: int | None = None,
    ) -> None:
        self.waited = 0.0
        self._make, self._device, self._next, self._last = make, device, first, last
        self._every = every or max(last, 1)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        threads = threads or (4 if self._stream else 1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="batches")
        self._coming: deque[Future[tuple[Batch, torch.cuda.Event | None]]] = deque()
        self._ahead = threads + 2
        self._begin()

    def __iter__(self) -> Iterator[Batch]:
        while self._coming:
            start = time.perf_counter()
            batch, arrived = self._coming.popleft().result()
            self.waited += time.perf_counter() - start
            self._start()
            if arrived is not None:
                _receive(batch, arrived, torch.cuda.current_stream(self._device))
            yield batch
            if not self._coming:
                self._begin()

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _begin(self) -> None:
        """Start with the next steps, up to one after which batches may differ."""
        self._until = min(self._last, (self._next // self._every + 1) * self._every)
        for _ in range(self._ahead):
            self._start()

    def _start(self) -> None:
        if self._next < self._until:
            self._coming.append(self._threads.submit(self._fetch, self._next))
            self._next += 1

    def _fetch(self, step: int) -> tuple[Batch, torch.cuda.Event | None]:
        batch = self._make(step)
        if self._stream is None:
            return batch, None
        with torch.cuda.stream(self._stream):
            moved = batch.to(self._device)
            arrived = torch.cuda.Event()
            arrived.record()
        return moved, arrived


def _receive(batch: Batch, arrived: torch.cuda.Event, stream: torch.cuda.Stream) -> None:
    """Let the stream wait for the copy, and keep the batch's memory until the stream has used it."""
    stream.wait_event(arrived)
    batch.each(lambda tensor: tensor.record_stream(stream))


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if tensor.numel() else tensor
