"""Kaldi's vectors in ark and scp files, binary and text.

An ark file is a sequence of `key object`. A binary vector is `\\0B`, a token (`FV ` for float32, `DV ` for float64),
the byte 4, the number of values as a little-endian int32, and the values; a text vector is a line `[ 0.1 0.2 ]`.
A line of an scp file is `key file:offset`, the offset that of the object, after the key and its blank.
See https://kaldi-asr.org/doc/io.html and kaldi-vector.cc.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from spkver import lists
from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.files import StrPath, atomic_files
from spkver.formats.form import Form, from_arrays
from spkver.storage import located

_TYPES: dict[bytes, np.dtype] = {b"FV ": np.dtype("<f4"), b"DV ": np.dtype("<f8")}
_KEY = re.compile(rb"\s*(\S+)[ \t]")
_HEADER = struct.Struct("<2s3sbi")  # \0B, token, 4, number of values

_DIGITS = 18  # of an offset; more would be beyond 64 bits

Data = mmap.mmap | bytes


def read_ark(path: StrPath) -> Iterator[tuple[str, np.ndarray]]:
    """Iterate over keys and vectors (float32 or float64) of an ark file.

    Raises InputError naming file and offset, if an entry is truncated or not a vector.
    """
    data = _map(path)
    at = 0
    while data[at : at + 1]:
        key = _KEY.match(data, at)
        if key is None:
            if not data[at:].strip():
                return
            raise InputError(f"{path}: no key at offset {at}: not an ark file, or a truncated one")
        vector, at = _vector(path, data, key.end())
        yield _decode(path, at, key[1]), vector


def read_scp(path: StrPath) -> Iterator[tuple[str, np.ndarray]]:
    """Iterate over keys and vectors of an scp file, in its order.

    Paths are relative to the current directory, as in Kaldi, or else to the directory of the scp file.
    Raises InputError naming the file and line, or the ark file and the offset.
    """
    columns = lists.read_columns(path, ["key", "place"], rest=True)
    arks: dict[Path, Data] = {}
    for number, (key, place) in enumerate(zip(*(columns[name].to_pylist() for name in ("key", "place"))), start=1):
        if place.endswith("|"):
            raise InputError(f"{path}:{number}: '{place}' is a command; only files are read")
        found = re.fullmatch(r"(.+):(\d+)", place)
        name, offset = (found[1], found[2]) if found else (place, "0")
        ark = located(name) if located(name).exists() else located(path).parent / name
        if ark not in arks:
            arks[ark] = _map(ark)
        if len(offset) > _DIGITS:
            raise InputError(f"{path}:{number}: the offset {offset[:_DIGITS]}... is larger than any file")
        yield key, _vector(ark, arks[ark], int(offset))[0]


def write_ark(
    path: StrPath, keys: Sequence[str], vectors: np.ndarray, *, scp: StrPath | None = None, text: bool = False
) -> None:
    """Write the rows of a float32 matrix as an ark file, and the scp file that points into it.

    text: values as text, with as many digits as float32 needs. Raises InputError for a key with a blank.
    """
    encode = _text if text else _binary
    offsets = []
    with atomic_files(*([path] if scp is None else [scp, path])) as parts:
        with open(parts[-1], "wb") as stream:
            for key, vector in zip(keys, vectors, strict=True):
                if not key or re.search(r"\s", key):
                    raise InputError(f"the id '{key}' is empty or contains a blank, which an ark file does not allow")
                stream.write(f"{key} ".encode())
                offsets.append(stream.tell())
                stream.write(encode(vector))
        if scp is not None:
            lines = "".join(f"{key} {path}:{offset}\n" for key, offset in zip(keys, offsets))
            parts[0].write_text(lines, encoding="utf-8")


def _binary(vector: np.ndarray) -> bytes:
    return _HEADER.pack(b"\0B", b"FV ", 4, len(vector)) + vector.astype("<f4").tobytes()


def _text(vector: np.ndarray) -> bytes:
    return f" [ {' '.join(f'{value:.9g}' for value in vector.tolist())} ]\n".encode()


def _vector(path: StrPath, data: Data, at: int) -> tuple[np.ndarray, int]:
    """The vector at an offset, and the offset after it."""
    parse: Callable[[Data, int], tuple[np.ndarray, int]] = _parse_binary if data[at : at + 2] == b"\0B" else _parse_text
    try:
        return parse(data, at)
    except ValueError as error:
        raise InputError(f"{path}: at offset {at}: {error}") from error


def _parse_binary(data: Data, at: int) -> tuple[np.ndarray, int]:
    if len(data) < at + _HEADER.size:
        raise ValueError("the file is truncated")
    _, token, width, size = _HEADER.unpack_from(data, at)
    if token not in _TYPES:
        raise ValueError(f"expected a vector (FV or DV), found {token!r}")
    if width != 4 or size < 0:
        raise ValueError("the number of values cannot be read")
    kind, start = _TYPES[token], at + _HEADER.size
    end = start + size * kind.itemsize
    if end > len(data):
        raise ValueError(f"the file is truncated: {size} values do not fit in it")
    return np.frombuffer(data, kind, size, start), end


def _parse_text(data: Data, at: int) -> tuple[np.ndarray, int]:
    # check the start first, so that a wrong offset into a large file does not search all of it
    opening = re.match(rb"[ \t]*\[", data[at : at + 64])
    if opening is None:
        raise ValueError(f"expected a vector, found {bytes(data[at : at + 12])!r}")
    start = at + opening.end()
    close = data.find(b"]", start)
    if close < 0:
        raise ValueError("the file is truncated: no ']'")
    content = data[start:close]
    if b"\n" in content:
        raise ValueError("expected a vector, found a matrix")
    return np.array(content.decode("ascii").split(), np.float64), close + 1


def _map(path: StrPath) -> Data:
    try:
        with open(path, "rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:  # an empty file cannot be mapped
        return b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _decode(path: StrPath, at: int, key: bytes) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the key that ends before offset {at} is not UTF-8 text") from error


def _read(path: StrPath) -> Embeddings:
    ids: list[str] = []
    vectors: list[np.ndarray] = []
    for key, vector in read_scp(path) if located(path).suffix == ".scp" else read_ark(path):
        if vectors and len(vector) != len(vectors[0]):
            raise InputError(f"the vector of '{key}' has {len(vector)} values, the first has {len(vectors[0])}")
        ids.append(key)
        vectors.append(vector)
    if not ids:
        raise InputError("no vectors in it")
    return from_arrays({"vectors": np.array(vectors)}, ids, None, {})


def _write(path: StrPath, embeddings: Embeddings, dtype: str) -> None:
    ark = located(path).with_suffix(".ark")
    scp = path if located(path).suffix == ".scp" else None
    write_ark(ark, embeddings.ids, embeddings.vectors, scp=scp, text=dtype == TEXT)


TEXT = "text"
FORM = Form(_read, _write, dtypes=("float32", TEXT), times=False)
