"""Text lists read by column: wav.scp, utt2spk, trial lists, score files.

A list of a million lines is one Arrow array and one regular expression over it, not a Python loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from spkver.errors import InputError
from spkver.files import StrPath


def read_lines(path: StrPath) -> pa.Array:
    """The lines of a UTF-8 text file as an Arrow string array, without line ends and without trailing empty lines."""
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from error
    text = text.rstrip().replace("\r\n", "\n")
    if len(text) > 1 << 31:
        raise InputError(f"{path}: more than 2 GiB of text, more than one list can be; divide it")
    return pc.split_pattern(pa.array([text] if text else [], pa.string()), "\n").flatten()


def read_columns(path: StrPath, names: Sequence[str], *, rest: bool = False) -> dict[str, pa.Array]:
    """Read a list with `len(names)` columns separated by blanks.

    With `rest`, the last column is everything up to the end of the line, blanks included (paths in wav.scp).
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
    if rest:  # a pattern that stops at the last word takes four times as long
        columns[names[-1]] = pc.ascii_rtrim(columns[names[-1]], " \t\r\f")
    return columns


def first_duplicate(values: pa.Array) -> str | None:
    """The first value that occurs more than once, or None."""
    counts = pc.value_counts(values)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    return twice[0]["values"].as_py() if len(twice) else None
