"""A verifier for many threads: recordings that wait at the same time share a batch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spkver.encoder import BATCH_SECONDS, equal_lengths, similar_lengths
from spkver.errors import SpkverError
from spkver.extraction import PADDING
from spkver.verify.model import Verifier


@dataclass
class _Waiting:
    """A waveform (time,) and, once computed, its embedding (dim,) or the error."""

    waveform: np.ndarray
    result: np.ndarray | Exception | None = None


class SharedVerifier(Verifier):
    """A verifier whose `embed_batch` is called by several threads, each with one recording.

    One thread computes at a time, and includes the waiting recordings of the same length, so no recording waits for
    others to arrive. On a GPU, networks that are `masked` take padded batches of similar lengths, as in `spkver
    extract`.
    """

    def prepare(self, report: Callable[[int], object] = lambda size: None) -> SharedVerifier:
        """Prepare a verifier for several threads. report: called with the size of each batch."""
        self._waiting: list[_Waiting] = []
        self._list, self._turn = threading.Lock(), threading.Lock()
        self._padded = self.network.masked and self.device.type != "cpu"
        self._report = report
        return self

    def embed_batch(self, waveforms: np.ndarray) -> np.ndarray:
        """See Encoder."""
        if len(waveforms) != 1:  # windows of a diarization
            return super().embed_batch(waveforms)
        own = _Waiting(waveforms[0])
        with self._list:
            self._waiting.append(own)
        with self._turn:
            if own.result is None:
                self._compute(self._batch_of(own))
        if isinstance(own.result, Exception):
            raise own.result
        assert own.result is not None
        return own.result[None]

    def _batch_of(self, own: _Waiting) -> list[_Waiting]:
        with self._list:
            limit, lengths = BATCH_SECONDS * self.sample_rate, np.array([len(one.waveform) for one in self._waiting])
            padded = self._padded and lengths.max() <= self.whole_seconds * self.sample_rate
            groups = similar_lengths(lengths, limit, PADDING) if padded else equal_lengths(lengths, limit)
            batch = next(
                [self._waiting[row] for row in rows]
                for rows in groups
                if any(self._waiting[row] is own for row in rows)
            )
            self._waiting = [one for one in self._waiting if not any(one is other for other in batch)]
        return batch

    def _compute(self, batch: list[_Waiting]) -> None:
        try:
            if len({len(one.waveform) for one in batch}) > 1:
                found = self.embed_padded([one.waveform for one in batch])
            else:
                found = super().embed_batch(np.stack([one.waveform for one in batch]))
        except Exception as error:
            if len(batch) == 1 or not isinstance(error, SpkverError):
                for one in batch:
                    one.result = error
            else:  # the error belongs to one of them
                for one in batch:
                    self._compute([one])
            return
        self._report(len(batch))
        for one, vector in zip(batch, found):
            one.result = vector
