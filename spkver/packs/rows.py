"""The rows of a shard: what is in its file beside the payloads, and where the payloads are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from spkver.errors import InputError
from spkver.packs.layout import SCHEMA, Header, Shard


@dataclass(frozen=True)
class Rows:
    """The utterances of one shard. offsets, sizes: of the payloads, in bytes."""

    lengths: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    words: pa.Table


def wrong_size(root: Path, shard: Shard) -> str | None:
    """Why a file of a pack cannot be mapped (missing, outside the pack, or of another size), or None."""
    path = root / shard.file
    if path.parent != root or not path.is_file():
        return f"{path}: a shard of the pack is missing; delete the pack and make it again"
    size = path.stat().st_size
    if size != shard.bytes:
        return f"{path}: {size} bytes instead of {shard.bytes}: truncated or replaced; make the pack again"
    return None


def open_shard(root: Path, shard: Shard, header: Header) -> tuple[Rows, np.ndarray]:
    """Map one file and locate its payloads. Returns its rows and its bytes."""
    if reason := wrong_size(root, shard):
        raise InputError(reason)
    return map_shard(root / shard.file, shard, header, str(root / shard.file))


def map_shard(path: Path, shard: Shard, header: Header, name: str) -> tuple[Rows, np.ndarray]:
    """Map a file of the right size. name: for messages."""
    with pa.memory_map(str(path)) as source:
        file = source.read_buffer()
    return parse(file, shard, header, name), np.frombuffer(file, np.uint8)


def parse(file: pa.Buffer, shard: Shard, header: Header, path: str) -> Rows:
    """Locate the payloads of a file without reading them. path: for messages.

    Sizes and payload ranges are checked, because reading a memory map past the end of its file kills the process.
    """
    size = shard.bytes
    try:
        reader = pa.ipc.open_file(file)
        if not reader.schema.equals(SCHEMA):
            raise InputError(f"{path}: columns {reader.schema.names}, expected {SCHEMA.names}; make the pack again")
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        words = pa.Table.from_batches(batches, SCHEMA).select(["id", "speaker", "session"])
        words.validate(full=True)
        none = np.empty(0, np.int64)
        lengths = np.concatenate([none, *(batch["length"].to_numpy() for batch in batches)])
        starts = [_payload_starts(batch, file.address) for batch in batches]
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:  # a damaged file may raise any of these
        raise InputError(f"{path}: damaged ({error}); delete the pack and make it again") from error
    offsets = np.concatenate([none, *(first for first, _ in starts)])
    ends = np.concatenate([none, *(last for _, last in starts)])
    sizes, width = ends - offsets, (header.bins or 1) * header.dtype.itemsize
    fits = np.array_equal(sizes, lengths * width) if header.coding == "pcm" else np.all((sizes > 0) == (lengths > 0))
    inside = len(lengths) == shard.rows and fits
    if not inside or (len(offsets) and (offsets.min() < 0 or ends.max() > size or lengths.min() < 0)):
        raise InputError(f"{path}: damaged (lengths and payloads disagree); delete the pack and make it again")
    return Rows(lengths, offsets, sizes, words)


def _payload_starts(batch: pa.RecordBatch, base: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of each payload of a record batch, as byte offsets in the file mapped at `base`."""
    payload = batch["payload"]
    _, offsets, data = payload.buffers()
    edges = np.frombuffer(offsets, np.int64, count=len(payload) + 1)
    start = data.address - base if data is not None and data.size else 0  # an empty buffer has no address
    return start + edges[:-1], start + edges[1:]
