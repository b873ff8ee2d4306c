"""Write packs: one shard at a time, in record batches of a few hundred rows."""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from spkver.files import StrPath, atomic_directory, write_json, write_text
from spkver.packs.layout import INDEX, REJECTED, SCHEMA, Coding, Header, Kind, Shard, encode, index, shard_name
from spkver.storage import located

BATCH_ROWS = 256
BATCH_BYTES = 64 << 20  # fewer rows per batch for long recordings


class ShardWriter:
    """Writes the rows of one shard to `path`, holding one record batch in memory."""

    def __init__(self, path: StrPath, header: Header) -> None:
        self.rows = 0
        self.length = 0
        self.speakers: set[str] = set()
        self._path = Path(path)
        self._header = header
        self._words: list[tuple[str, str, str, int]] = []
        self._payloads: list[np.ndarray] = []
        self._bytes = 0
        self._stream = _HashedFile(self._path)
        self._file = pa.ipc.new_file(pa.PythonFile(self._stream, "w"), SCHEMA)

    def add(self, id: str, speaker: str, session: str | None, values: np.ndarray) -> None:
        """Append an utterance: int16 (time,) or float16 (frames, bins)."""
        shape = values.shape[1:] if self._header.bins else values.shape[:0]
        expected = (self._header.bins,) if self._header.bins else ()
        if values.dtype != self._header.dtype or shape != expected or values.ndim != len(expected) + 1:
            raise ValueError(f"{id}: {values.dtype} {values.shape} does not fit a pack of kind {self._header.kind}")
        self._words.append((id, speaker, session or "", len(values)))
        self._payloads.append(encode(values, self._header))
        self._bytes += len(self._payloads[-1])
        self.rows += 1
        self.length += len(values)
        self.speakers.add(speaker)
        if len(self._words) >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
            self._flush()

    def close(self, name: str) -> Shard:
        """Finish the file. Returns its entry in pack.json; name: its final file name."""
        if self._words:
            self._flush()
        self._file.close()
        self._stream.close()
        return Shard(name, self.rows, self._stream.written, self._stream.digest.hexdigest(), self.length)

    def abandon(self) -> None:
        """Close an unfinished file."""
        with contextlib.suppress(OSError, pa.ArrowException):  # on a full disk writing the footer fails again
            self._file.close()
        with contextlib.suppress(OSError):
            self._stream.close()

    def _flush(self) -> None:
        columns: list[Any] = [pa.array(column) for column in zip(*self._words)]
        edges = np.cumsum([0, *(len(payload) for payload in self._payloads)], dtype=np.int64)
        buffers = [None, pa.py_buffer(edges), pa.py_buffer(np.concatenate(self._payloads))]
        columns.append(pa.Array.from_buffers(pa.large_binary(), len(self._payloads), buffers, null_count=0))
        self._file.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
        self._words, self._payloads, self._bytes = [], [], 0


class _HashedFile(io.RawIOBase):
    """A file whose SHA-256 is there when it is written, without reading it again."""

    def __init__(self, path: Path) -> None:
        self.digest = hashlib.sha256()
        self.written = 0
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by close

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Write all of it: the operating system takes at most 2 GiB at once."""
        view = memoryview(data).cast("B")
        self.digest.update(view)
        done = 0
        while done < len(view):
            done += self._file.write(view[done:])
        self.written += done
        return done

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class PackWriter:
    """Writes a whole pack in one process; it appears at `path` when the `with` block ends without error.

    with PackWriter("pack", kind="audio", sample_rate=16000) as pack:
        pack.add("spk1/a.wav", "spk1", "", samples)
    """

    def __init__(
        self,
        path: StrPath,
        *,
        kind: Kind,
        sample_rate: int,
        front_end: dict[str, Any] | None = None,
        coding: Coding = "pcm",
        rows_per_shard: int = 1000,
    ) -> None:
        self.header = Header(kind, sample_rate, front_end, coding)
        self._target = located(path)
        self._rows_per_shard = rows_per_shard
        self._shards: list[Shard] = []
        self._speakers: set[str] = set()
        self._shard: ShardWriter | None = None

    def __enter__(self) -> PackWriter:
        self._stack = contextlib.ExitStack()
        self._part = self._stack.enter_context(atomic_directory(self._target, holds=INDEX))
        self._stack.push(self._finish)
        return self

    def add(self, id: str, speaker: str, session: str | None, values: np.ndarray) -> None:
        """Append an utterance: int16 (time,) or float16 (frames, bins)."""
        if self._shard is None:
            self._shard = ShardWriter(self._part / shard_name(len(self._shards)), self.header)
        self._shard.add(id, speaker, session, values)
        if self._shard.rows == self._rows_per_shard:
            self._close_shard()

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._close_shard()
            content = index(self.header, self._shards, speakers=len(self._speakers), rejected=0, mark="")
            write_text(self._part / REJECTED, "")
            write_json(self._part / INDEX, content)
        elif self._shard is not None:
            self._shard.abandon()

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._speakers |= self._shard.speakers
            self._shards.append(self._shard.close(shard_name(len(self._shards))))
            self._shard = None
