"""Read text lists by column: wav.scp, utt2spk, trial lists, score files.

Lists are parsed as Arrow arrays by regular expressions, without a Python loop over lines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from spkver.errors import InputError
from spkver.files import StrPath, refuse_stand_in
from spkver.storage import located
from spkver.text import decoded, without_mark

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Column = TypeVar("Column", pa.Array, pa.ChunkedArray)

BLOCK = 1 << 26  # bytes of text at a time
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_MOST = (1 << 31) - 1  # maximum bytes of an Arrow string array


def read_blocks(path: StrPath, first: int = 0, last: int | None = None) -> Iterator[bytes]:
    """The bytes of a text file in blocks of complete lines, without trailing empty lines.

    first, last: read only these bytes, between two cuts (see `cuts`)
    """
    left = last - first if last is not None else None
    try:
        with open(located(path), "rb") as stream:
            if first:
                stream.seek(first)
            rest = b""
            while chunk := stream.read(BLOCK if left is None else min(BLOCK, left)):
                left = None if left is None else left - len(chunk)
                rest += chunk
                # hold back empty lines: they may be trailing
                full = len(rest.rstrip())
                end = (rest.find(b"\n", full) if b"\n" in rest[full:] else rest.rfind(b"\n", 0, full)) + 1
                if full and end:
                    yield rest[:end]
                    rest = rest[end:]
            if tail := rest.rstrip():
                yield tail + b"\n"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def cuts(path: StrPath, size: int) -> list[int]:
    """Offsets that divide a text file into parts of whole lines of about `size` bytes: from 0 to its last line's end.

    No part starts or ends with an empty line, so that every part can be read by itself.
    """
    try:
        with open(located(path), "rb") as stream:
            end = stream.seek(0, 2)
            found = [0]
            while found[-1] + size < end:
                stream.seek(found[-1] + size)
                stream.readline()
                while (line := stream.readline()) and not line.strip():
                    pass  # an empty line belongs to the part before; at the end of the file it is ignored
                place = stream.tell() - len(line)
                if not line or place >= end:
                    break
                found.append(place)
            return [*found, end]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def lines_before(path: StrPath, place: int) -> int:
    """The number of lines before a byte of a text file."""
    count = 0
    with open(located(path), "rb") as stream:
        while place > 0 and (chunk := stream.read(min(BLOCK, place))):
            count += chunk.count(b"\n")
            place -= len(chunk)
    return count


def read_span(path: StrPath, first: int, last: int, *, header: bool) -> bytes:
    """The bytes [first, last) of a text file; header: preceded by its first line, if that is not among them."""
    with open(located(path), "rb") as stream:
        head = stream.readline() if header and first else b""
        stream.seek(first)
        return head + stream.read(last - first)


def lines_of(block: bytes, path: StrPath, first_line: int = 1) -> pa.Array:
    """The lines of a block of UTF-8 text, Arrow strings without line ends."""
    text = decoded(block, path, first_line)
    return pc.split_pattern(pa.array([text.replace("\r\n", "\n")], pa.string()), "\n").flatten()[:-1]


def read_lines(path: StrPath) -> pa.Array:
    """The lines of a UTF-8 text file as an Arrow string array, without line ends and without trailing empty lines."""
    text = b"".join(read_blocks(path))
    if len(text) > _MOST:
        raise InputError(f"{path}: more than 2 GiB of text, the limit of a list; split the file")
    return lines_of(text, path)


def read_columns(path: StrPath, names: Sequence[str], *, rest: bool = False) -> dict[str, pa.Array]:
    """Read a list of blank-separated columns.

    rest: the last column extends to the end of the line, including blanks (paths in wav.scp)
    Raises InputError with the number of the first line that does not have these columns.
    """
    lines = read_lines(path)
    fields = [rf"(?P<{name}>\S+)" for name in names]
    if rest:
        fields[-1] = rf"(?P<{names[-1]}>\S.*)"
    found = pc.extract_regex(lines, pattern=r"^\s*" + r"\s+".join(fields) + r"\s*$")
    if found.null_count:
        number = pc.index(pc.is_null(found), True).as_py()
        shown = lines[number].as_py()[:80]
        raise InputError(f"{path}:{number + 1}: expected '{' '.join(names)}', got {shown!r}")
    columns = {name: pc.struct_field(found, [name]) for name in names}
    if rest:  # a pattern that excludes trailing blanks is four times slower
        columns[names[-1]] = pc.ascii_rtrim(columns[names[-1]], " \t\r\f")
    return columns


@contextlib.contextmanager
def reading(path: StrPath, what: str) -> Iterator[None]:
    """Context for reading a table file. Raises InputError if the file is missing or is not `what`."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (
        OSError,
        UnicodeDecodeError,
        pa.ArrowException,
    ) as error:  # a damaged file may have undecodable column names
        refuse_stand_in(path)
        raise InputError(f"{path}: not {what} ({' '.join(str(error).split())})") from error


@contextlib.contextmanager
def reading_csv(path: StrPath, what: str = "a CSV file with a header") -> Iterator[None]:
    """Context for reading a CSV file; as `reading`, and raises InputError for a file that is not text."""
    with reading(path, what):
        with open(located(path), "rb") as stream:
            without_mark(stream.read(4), path)
        yield


def cast(column: Column, kind: pa.DataType, what: str) -> Column:
    """Cast a column to text or numbers. Raises InputError, which calls the column `what`, if that fails."""
    try:
        return column.cast(kind, safe=kind == pa.string())  # integers beyond 2^53 are rounded
    except pa.ArrowException as error:
        wanted = "text" if kind == pa.string() else "numbers"
        raise InputError(f"{what} is {column.type}, expected {wanted}") from error


def parquet_batches(
    file: pq.ParquetFile, rows: int, columns: Sequence[str], groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, at most `rows` at a time; groups: of these row groups only.

    Each row group is opened by itself, because Arrow keeps all those in memory that it has read in one call.
    """
    for group in range(file.num_row_groups) if groups is None else groups:
        yield from file.iter_batches(rows, row_groups=[group], columns=list(columns))


def first_duplicate(values: pa.Array) -> str | None:
    """The first value that occurs more than once, or None."""
    counts = pc.value_counts(values)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    return twice[0]["values"].as_py() if len(twice) else None
