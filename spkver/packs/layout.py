"""The format of packs on disk: the columns of a shard and the fields of pack.json."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import soundfile

from spkver.errors import InputError
from spkver.files import StrPath, fingerprint

FORMAT = 1
Kind = Literal["audio", "features"]
Coding = Literal["pcm", "flac"]  # coding of audio in the payload; features are plain values

INDEX = "pack.json"
REJECTED = "rejected.jsonl"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("speaker", pa.string()),
        ("session", pa.string()),
        ("length", pa.int64()),  # samples or frames
        # little-endian int16 (time,) or float16 (frames, bins) in C order; a FLAC file with coding flac
        ("payload", pa.large_binary()),
    ]
)
DTYPES: Mapping[str, np.dtype] = {"audio": np.dtype("<i2"), "features": np.dtype("<f2")}


@dataclass(frozen=True)
class Header:
    """Properties of all rows of a pack.

    sample_rate: Hz
    front_end: config of the front end of features, as plain values; None for audio
    simulation: config of the simulation applied to the recordings, as plain values; None without simulation
    """

    kind: Kind
    sample_rate: int
    front_end: dict[str, Any] | None = None
    coding: Coding = "pcm"
    simulation: dict[str, Any] | None = None

    @property
    def bins(self) -> int | None:
        """Values per frame of features; None for audio."""
        return int(self.front_end["bins"]) if self.front_end else None

    @property
    def dtype(self) -> np.dtype:
        """The dtype of payload values, two bytes each."""
        return DTYPES[self.kind]

    @property
    def units_per_second(self) -> float:
        """Samples or frames per second."""
        return 1000.0 / float(self.front_end["frame_shift_ms"]) if self.front_end else float(self.sample_rate)


@dataclass(frozen=True)
class Shard:
    """One file of a pack. bytes: file size; length: total samples or frames of its rows."""

    file: str
    rows: int
    bytes: int
    sha256: str
    length: int


def shard_name(number: int) -> str:
    """The file name of the n-th shard."""
    return f"shard-{number:05d}.arrow"


def index(header: Header, shards: Sequence[Shard], *, speakers: int, rejected: int, mark: str) -> dict[str, Any]:
    """The content of pack.json. mark: fingerprint of the input and settings of the pack."""
    length = sum(shard.length for shard in shards)
    simulation = {} if header.simulation is None else {"simulation": header.simulation}
    content = {
        "format": FORMAT,
        "kind": header.kind,
        "coding": header.coding,
        "sample_rate": header.sample_rate,
        "front_end": header.front_end,
        "bins": header.bins,
        **simulation,
        "rows": sum(shard.rows for shard in shards),
        "speakers": speakers,
        "length": length,
        "seconds": round(length / header.units_per_second, 3),
        "rejected": rejected,
        "fingerprint": mark,
        "shards": [asdict(shard) for shard in shards],
    }
    return content | {"checksum": checksum(content)}


def checksum(index: Mapping[str, Any]) -> str:
    """The hash of the content of pack.json, without its checksum."""
    return fingerprint({name: value for name, value in index.items() if name != "checksum"})


def encode(values: np.ndarray, header: Header) -> np.ndarray:
    """The payload of an utterance, as bytes: uint8 (count,)."""
    if header.coding == "flac" and len(values):
        stream = io.BytesIO()
        soundfile.write(stream, values, header.sample_rate, format="FLAC", subtype="PCM_16")
        return np.frombuffer(stream.getbuffer(), np.uint8)
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def decode(payload: np.ndarray, header: Header, start: int, length: int, where: StrPath) -> np.ndarray:
    """`length` samples or frames of a payload from `start` on; a view for coding pcm.

    Raises InputError naming `where` for FLAC that is damaged or too short.
    """
    width = header.bins or 1
    if header.coding == "pcm":
        size = width * header.dtype.itemsize
        values = payload[start * size : (start + length) * size].view(header.dtype)
        return values.reshape(length, width) if header.bins else values
    if not length:
        return np.empty(0, header.dtype)
    try:
        with soundfile.SoundFile(io.BytesIO(payload.tobytes())) as file:
            file.seek(start)
            found = file.read(length, dtype="int16")
    except (soundfile.SoundFileError, ValueError) as error:
        raise InputError(f"{where}: damaged FLAC ({error}); 'spkver data verify' finds the file") from error
    if found.shape != (length,):
        raise InputError(f"{where}: damaged FLAC ({len(found)} of {length} samples); make the pack again")
    return found
