"""Batches as a function of the step: the same seed and step give the same batch, whenever and wherever it is made.

So a resumed run needs no state of the data, and a thread can make batches ahead of the loop.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spkver.augment.speed import change_speed
from spkver.errors import InputError
from spkver.packs.joined import AnyPack

ORDER, CROPS, TURNS = 0, 1, 2  # what a random stream is for


@dataclass(frozen=True)
class Batch:
    """Crops as they lie in the pack, grouped by the speed at which they are to be played.

    groups: (speed, payload int16 (rows, samples) or float16 (rows, frames, bins)); labels: int64 (batch,), in the
    order of the groups; rows: of the pack, in the same order.
    """

    groups: list[tuple[float, Tensor]]
    labels: Tensor
    rows: np.ndarray

    def pin(self) -> Batch:
        """The same in page-locked memory, for copies that run beside the GPU's work."""
        groups = [(speed, payload.pin_memory()) for speed, payload in self.groups]
        return Batch(groups, self.labels.pin_memory(), self.rows)


class Sampler:
    """Random crops of a pack: every utterance once an epoch, in an order of the epoch's own.

    crop: samples or frames of the crop as the network sees it; shorter utterances are repeated to that length.
    speeds: one is drawn for every crop; speaker i at speed k is the class i + k * speakers.
    utterances_per_speaker: every batch holds so many utterances of each of its speakers, at one speed. Speakers take
    turns, in an order of the round's own, however many utterances they have; a speaker's utterances take turns too,
    and one who has too few gives them again, in other crops. Raises InputError for fewer speakers than a batch holds.
    """

    def __init__(
        self,
        pack: AnyPack,
        *,
        batch_size: int,
        crop: int,
        speeds: tuple[float, ...],
        seed: int,
        utterances_per_speaker: int | None = None,
    ) -> None:
        self.pack, self.batch_size, self.crop, self.speeds, self.seed = pack, batch_size, crop, speeds, seed
        self.utterances_per_speaker = utterances_per_speaker
        self.speakers = sorted(set(pack.speakers))
        number = {speaker: index for index, speaker in enumerate(self.speakers)}
        self.labels = np.array([number[speaker] for speaker in pack.speakers], dtype=np.int64)
        self._epoch = functools.lru_cache(maxsize=2)(self._order_of_epoch)
        self._rows_of = np.split(np.argsort(self.labels, kind="stable"), np.cumsum(np.bincount(self.labels))[:-1])
        if utterances_per_speaker and len(self.speakers) < (needed := batch_size // utterances_per_speaker):
            raise InputError(
                f"{pack.path}: {len(self.speakers)} speakers, but a batch of {batch_size} with "
                f"{utterances_per_speaker} utterances of each holds {needed}; lower train.batch_size"
            )

    @property
    def classes(self) -> int:
        """Number of classes: speakers times speeds."""
        return len(self.speakers) * len(self.speeds)

    @property
    def steps_per_epoch(self) -> float:
        """Batches that hold as many utterances as the pack."""
        return len(self.pack) / self.batch_size

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        each = self.utterances_per_speaker or 1
        rows = self._rows(step) if self.utterances_per_speaker is None else self._rows_by_speaker(step, each)
        random = np.random.default_rng([self.seed, CROPS, step])
        drawn = random.integers(0, len(self.speeds), len(rows) // each).repeat(each)
        order = np.argsort(drawn, kind="stable")
        rows, drawn = rows[order], drawn[order]
        groups = []
        for index in np.unique(drawn).tolist():
            speed = self.speeds[index]
            length = self.crop if speed == 1.0 else int(np.ceil(self.crop * speed)) + 1
            crops = [self._crop(row, length, random) for row in rows[drawn == index].tolist()]
            groups.append((speed, torch.from_numpy(np.stack(crops))))
        labels = self.labels[rows] + drawn * len(self.speakers)
        return Batch(groups, torch.from_numpy(labels), rows)

    def _rows(self, step: int) -> np.ndarray:
        size, first = len(self.pack), step * self.batch_size
        places = np.arange(first, first + self.batch_size)
        return np.array([self._epoch(place // size)[place % size] for place in places.tolist()])

    def _order_of_epoch(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, ORDER, epoch]).permutation(len(self.pack))

    def _rows_by_speaker(self, step: int, each: int) -> np.ndarray:
        number = self.batch_size // each
        # in a round every speaker has at most one turn, so that no batch holds one twice
        turn, place = divmod(step, len(self.speakers) // number)
        order = np.random.default_rng([self.seed, ORDER, turn]).permutation(len(self.speakers))
        speakers = order[place * number : (place + 1) * number]
        return np.concatenate([self._turn(speaker, turn, each) for speaker in speakers.tolist()])

    def _turn(self, speaker: int, turn: int, each: int) -> np.ndarray:
        rows = self._rows_of[speaker]
        cycle, block = divmod(turn, max(1, len(rows) // each))
        order = np.random.default_rng([self.seed, TURNS, speaker, cycle]).permutation(rows)
        return np.resize(order, max(len(rows), each))[block * each : (block + 1) * each]

    def _crop(self, row: int, length: int, random: np.random.Generator) -> np.ndarray:
        have = int(self.pack.lengths[row])
        if have >= length:
            return self.pack.crop(row, int(random.integers(0, have - length + 1)), length)
        whole = self.pack[row]
        return np.concatenate([whole] * -(-length // have))[:length]


def to_waveform(batch: Batch, crop: int, device: torch.device) -> Tensor:
    """The crops of an audio batch on the device, each at its speed: float32 (batch, crop) in [-1, 1]."""
    parts = []
    for speed, payload in batch.groups:
        waveform = payload.to(device, non_blocking=True).float() / 32768.0
        parts.append(change_speed(waveform, speed)[:, :crop])
    return torch.cat(parts)


class Prefetcher:
    """Makes the batches of the steps [first, last) in a thread, a few ahead; counts the seconds spent waiting."""

    def __init__(self, sampler: Sampler, first: int, last: int, *, pin: bool, ahead: int = 3) -> None:
        self.waited = 0.0
        self._queue: queue.Queue[Batch | BaseException] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._count = last - first
        self._thread = threading.Thread(target=self._work, args=(sampler, range(first, last), pin), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self._count):
            start = time.perf_counter()
            item = self._queue.get()
            self.waited += time.perf_counter() - start
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(0.05)

    def _work(self, sampler: Sampler, steps: range, pin: bool) -> None:
        try:
            for step in steps:
                if self._stop.is_set():
                    return
                batch = sampler.batch(step)
                self._queue.put(batch.pin() if pin else batch)
        except BaseException as error:
            self._queue.put(error)
