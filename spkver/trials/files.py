"""Read and write trial lists and score files in parts: the common text formats, CSV and Parquet.

Text lists have one of four forms. The first line decides which, and every line must have it:

    1 enrol test                    VoxCeleb
    enrol test target|nontarget     Kaldi
    enrol test 1|0                  CN-Celeb
    enrol test                      without labels

A score file is `enrol test score`, with an optional label as the fourth column. `.csv` and `.parquet` files have the
columns enrol, test, target and score.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from spkver import lists
from spkver.errors import InputError
from spkver.files import StrPath, atomic_file
from spkver.storage import located
from spkver.text import MARK
from spkver.trials.table import Scores, Trials, codes, concatenate, encoded

_PART = 1 << 22  # rows of Parquet at a time
SPAN = 1 << 27  # bytes of text, or bytes of Parquet in memory, in a span
_PIECE = 1 << 16  # lines of text written at a time

# field of a form: its column and the pattern of its values
_FIELDS = {
    "enrol": ("enrol", r"\S+"),
    "test": ("test", r"\S+"),
    "1|0": ("target", "[01]"),
    "target|nontarget": ("target", "target|nontarget"),
    "score": ("score", lists.NUMBER),
}
_TRIAL_FORMS = ("1|0 enrol test", "enrol test target|nontarget", "enrol test 1|0", "enrol test")
_SCORE_FORMS = ("enrol test score", "enrol test score target|nontarget", "enrol test score 1|0")
_LABELS = {"target": True, "1": True, "true": True, "nontarget": False, "0": False, "false": False}

Columns = dict[str, pa.Array]


# --- reading ---------------------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """A part of a list: bytes [first, last) of text, which are whole lines, or row groups [first, last) of Parquet."""

    first: int
    last: int


def spans(path: StrPath) -> list[Span | None]:
    """Divide a list into spans of about SPAN bytes; [None] (the whole list) if it is not longer, or is not a file."""
    path = located(path)
    if not path.is_file() or path.stat().st_size <= SPAN:
        return [None]
    if path.suffix == ".parquet":
        with lists.reading(path, "a Parquet file"):
            about = pq.read_metadata(path)
        sizes = [about.row_group(number).total_byte_size for number in range(about.num_row_groups)]
        edges = [0, *np.flatnonzero(np.diff(np.cumsum([0, *sizes]) // SPAN) > 0) + 1]
        return [Span(int(first), int(last)) for first, last in zip(edges, [*edges[1:], len(sizes)]) if last > first]
    cuts = lists.cuts(path, SPAN)
    return [Span(first, last) for first, last in itertools.pairwise(cuts)]


def stream_trials(path: StrPath, span: Span | None = None) -> Iterator[Trials]:
    """Read a trial list (text, .csv or .parquet) in order, in parts of bounded size.

    span: read only this part of the list
    Raises InputError with file and line for a line that does not have the list's form, and for an empty list.
    """
    for columns in _stream(path, _TRIAL_FORMS, ("enrol", "test"), span):
        yield _trials(columns)


def stream_scores(path: StrPath, column: str = "score", span: Span | None = None) -> Iterator[Scores]:
    """Read a score file (text, .csv or .parquet) in parts, with its labels if it has them.

    column: the column of a .csv or .parquet to read instead of the score; span: read only this part of the file
    Raises InputError with file and line for a line that is not `enrol test score` or has a score that is not finite.
    """
    if column != "score" and located(path).suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: a text list has no column '{column}'; use .csv, .parquet or `enrol test {column}`")
    for columns in _stream(path, _SCORE_FORMS, ("enrol", "test", column), span):
        yield Scores(_trials(columns), columns[column].to_numpy(zero_copy_only=False))


def read_trials(path: StrPath) -> Trials:
    """Read a whole trial list; errors as in `stream_trials`."""
    return concatenate(list(stream_trials(path)))


def read_scores(path: StrPath, column: str = "score") -> Scores:
    """Read a whole score file; arguments and errors as in `stream_scores`."""
    parts = list(stream_scores(path, column))
    return Scores(concatenate([part.trials for part in parts]), np.concatenate([part.values for part in parts]))


def read_enrolment(path: StrPath) -> dict[str, list[str]]:
    """Read a map from enrolment models to utterances, one model per line: `model utterance utterance ...` (spk2utt).

    Raises InputError with file and line for an invalid line, and for a model that occurs twice.
    """
    columns = lists.read_columns(path, ["model", "utterances"], rest=True)
    if (twice := lists.first_duplicate(columns["model"])) is not None:
        raise InputError(f"{path}: the model '{twice}' occurs twice")
    return dict(zip(columns["model"].to_pylist(), pc.utf8_split_whitespace(columns["utterances"]).to_pylist()))


def _trials(columns: Columns) -> Trials:
    target = columns["target"].to_numpy(zero_copy_only=False) if "target" in columns else None
    return Trials(columns["enrol"], columns["test"], target)


def _stream(path: StrPath, forms: tuple[str, ...], needed: tuple[str, ...], span: Span | None) -> Iterator[Columns]:
    """Parts of a list: ids dictionary-encoded and not empty, scores finite float32 or float64, labels boolean."""
    try:
        yield from _typed(path, forms, needed, span, 0)
    except InputError:
        if span is None:
            raise
        # the same error, with the number of its line in the file; lines before are counted only now
        for _ in _typed(path, forms, needed, span, _rows_before(path, span)):
            pass
        raise


def _typed(
    path: StrPath, forms: tuple[str, ...], needed: tuple[str, ...], span: Span | None, row: int
) -> Iterator[Columns]:
    """As `_stream`; row: number of rows before the span."""
    path = located(path)
    suffix = path.suffix
    first = row
    if suffix == ".parquet":
        parts = _from_parquet(path, needed, span)
    elif suffix == ".csv":
        parts = _from_csv(path, needed, span)
    else:
        parts = _from_text(path, forms, span, row + 1)
    for columns in parts:
        size = len(columns["enrol"])
        if size:
            yield {name: _TYPED.get(name, _numbers)(column, path, name, row) for name, column in columns.items()}
        row += size
    if row == first:
        raise InputError(f"{path}: the list has no trials")


def _rows_before(path: StrPath, span: Span) -> int:
    path = located(path)
    if path.suffix == ".parquet":
        about = pq.read_metadata(path)
        return sum(about.row_group(number).num_rows for number in range(span.first))
    return lists.lines_before(path, span.first) - (1 if path.suffix == ".csv" and span.first else 0)


def _from_text(path: StrPath, forms: tuple[str, ...], span: Span | None, line: int) -> Iterator[Columns]:
    form = "" if span is None else _form_of(next(lists.read_blocks(path)), path, forms)
    for block in lists.read_blocks(path, *(span or ())):
        if not form:
            form = _form_of(block, path, forms)
        fields = [_FIELDS[field] for field in form.split()]
        columns = _parsed_fast(block, fields)
        yield _parsed_exactly(block, fields, form, path, line) if columns is None else columns
        line += block.count(b"\n")


def _form_of(block: bytes, path: StrPath, forms: tuple[str, ...]) -> str:
    """The form of the first line. If it fits several forms, the whole first block decides."""
    first = lists.lines_of(block[: block.find(b"\n") + 1], path)
    fitting = [form for form in forms if not pc.extract_regex(first, pattern=_pattern(form)).null_count]
    if not fitting:
        known = ", ".join(f"'{name}'" for name in forms)
        raise InputError(f"{path}:1: expected one of {known}, got {first[0].as_py()[:80]!r}")
    if len(fitting) > 1:
        lines = lists.lines_of(block, path)
        whole = [form for form in fitting if not pc.extract_regex(lines, pattern=_pattern(form)).null_count]
        if len(whole) > 1:
            raise InputError(f"{path}: every line fits both '{whole[0]}' and '{whole[1]}': give a .csv with a header")
        return (whole or fitting)[0]
    return fitting[0]


def _pattern(form: str) -> str:
    fields = (_FIELDS[field] for field in form.split())
    return r"^\s*" + r"\s+".join(f"(?P<{name}>{content})" for name, content in fields) + r"\s*$"


def _parsed_fast(block: bytes, fields: list[tuple[str, str]]) -> Columns | None:
    """The columns of lines whose fields are separated by one blank; None if anything is unexpected."""
    if any(odd in block for odd in (b"\f", b"\v", b"\0", MARK)):
        return None
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    if b"\t" in block:
        block = block.replace(b"\t", b" ")
    names = [name for name, _ in fields]
    text = pa.dictionary(pa.int32(), pa.string())
    types = {name: pa.float64() if name == "score" else text for name in names}
    try:
        table = pyarrow.csv.read_csv(
            _source(block),
            pyarrow.csv.ReadOptions(column_names=names, block_size=len(block) + 1),
            pyarrow.csv.ParseOptions(delimiter=" ", quote_char=False, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        return None
    columns = {name: table.column(name).combine_chunks() for name in names}
    for name, content in fields:
        column = columns[name]
        if name == "score":
            good = not column.null_count and np.isfinite(column.to_numpy()).all()
        else:
            allowed = pc.match_substring_regex(column.dictionary, f"^(?:{content})$")
            good = not column.null_count and pc.all(allowed).as_py()
        if not good:
            return None
    return columns


def _source(block: bytes) -> pa.NativeFile:
    """The bytes in memory of Arrow's own.

    Arrow's threads may drop the last reference to a buffer while the process ends. For memory of a Python object they
    would need the interpreter, which then ends the thread, and the process aborts.
    """
    copy = pa.BufferOutputStream()
    copy.write(block)
    return pa.BufferReader(copy.getvalue())


def _parsed_exactly(block: bytes, fields: list[tuple[str, str]], form: str, path: StrPath, line: int) -> Columns:
    """The columns of lines with any blanks between fields. Raises InputError for a line that has another form."""
    lines = lists.lines_of(block, path, line)
    found = pc.extract_regex(lines, pattern=_pattern(form))
    if found.null_count:
        row = pc.index(pc.is_null(found), True).as_py()
        raise InputError(f"{path}:{row + line}: expected '{form}' as on line 1, got {lines[row].as_py()[:80]!r}")
    return {name: pc.struct_field(found, [name]) for name, _ in fields}


def _from_csv(path: StrPath, needed: tuple[str, ...], span: Span | None) -> Iterator[Columns]:
    # as text, so that the id 007 stays 007; in one thread, so that errors have the right row
    as_text = dict.fromkeys((*needed, "target"), pa.string())
    with (
        lists.reading_csv(path),
        pyarrow.csv.open_csv(
            path if span is None else _source(lists.read_span(path, span.first, span.last, header=True)),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=lists.BLOCK),
            convert_options=pyarrow.csv.ConvertOptions(column_types=as_text),
        ) as parts,
    ):
        _check_columns(path, parts.schema.names, needed)
        for part in parts:
            yield {name: part.column(name) for name in _wanted(part.schema.names, needed)}


def _from_parquet(path: StrPath, needed: tuple[str, ...], span: Span | None) -> Iterator[Columns]:
    with lists.reading(path, "a Parquet file"):
        schema = pq.read_schema(path)
        _check_columns(path, schema.names, needed)
        wanted = _wanted(schema.names, needed)
        strings = [name for name in wanted if pa.types.is_string(schema.field(name).type)]
        with pq.ParquetFile(path, read_dictionary=strings) as file:
            groups = None if span is None else range(*span)
            for part in lists.parquet_batches(file, _PART, wanted, groups):
                part.validate(full=True)  # text that is not UTF-8
                yield {name: part.column(name) for name in part.schema.names}


def _wanted(names: list[str], needed: tuple[str, ...]) -> list[str]:
    return [name for name in (*needed, "target") if name in names]


def _check_columns(path: StrPath, names: list[str], needed: tuple[str, ...]) -> None:
    for name in needed:
        if name not in names:
            raise InputError(f"{path}: no column '{name}'; its columns are {', '.join(names)}")
    for name in _wanted(names, needed):
        if names.count(name) > 1:
            raise InputError(f"{path}: the column '{name}' occurs {names.count(name)} times")


def _ids(column: pa.Array, path: StrPath, name: str, row: int) -> pa.DictionaryArray:
    column = _words(column, path, name)
    missing = column.is_null()
    if (empty := column.dictionary.index("").as_py()) >= 0:
        missing = pc.or_(missing, pc.equal(column.indices.fill_null(empty), empty))
    _refuse(missing, path, row, lambda at: f"the column '{name}' is empty")
    return column


def _words(column: pa.Array, path: StrPath, name: str) -> pa.DictionaryArray:
    if not pa.types.is_dictionary(column.type):
        column = lists.cast(column, pa.string(), f"{path}: the column '{name}'")
    return encoded(column)


def _labels(column: pa.Array, path: StrPath, name: str, row: int) -> pa.BooleanArray:
    _refuse(column.is_null(), path, row, lambda at: f"the column '{name}' is empty")
    if pa.types.is_boolean(column.type):
        return column
    column = _words(column, path, name)
    words = [str(word).lower() for word in column.dictionary.to_pylist()]
    known = np.array([word in _LABELS for word in words], bool)[codes(column)]
    _refuse(pa.array(~known), path, row, lambda at: f"expected target or nontarget (or 1 or 0), got '{column[at]}'")
    return pa.array(np.array([_LABELS.get(word, False) for word in words], bool)[codes(column)])


def _numbers(column: pa.Array, path: StrPath, name: str, row: int) -> pa.FloatingPointArray:
    """Finite values of a column of numbers or of text with numbers: float32 stays float32, all else is float64."""
    _refuse(column.is_null(), path, row, lambda at: f"the column '{name}' is empty")

    def words(at: int) -> str:
        return f"the {name} {column[at]} is not a finite number"

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        _refuse(pc.invert(pc.match_substring_regex(column, f"^{lists.NUMBER}$")), path, row, words)
        column = pc.utf8_ltrim(column, "+")
    values = column if column.type == pa.float32() else lists.cast(column, pa.float64(), f"{path}: the column '{name}'")
    _refuse(pc.invert(pc.is_finite(values)), path, row, words)
    return values


_TYPED: dict[str, Callable[[pa.Array, StrPath, str, int], pa.Array]] = {
    "enrol": _ids,
    "test": _ids,
    "target": _labels,
}


def _refuse(bad: pa.Array, path: StrPath, row: int, words: Callable[[int], str]) -> None:
    """Raise InputError for the first bad row, with the line (the header of a CSV is line 1) or the Parquet row."""
    at = pc.index(bad, True).as_py()
    if at < 0:
        return
    suffix = located(path).suffix
    place = f": row {row + at + 1}" if suffix == ".parquet" else f":{row + at + (2 if suffix == '.csv' else 1)}"
    raise InputError(f"{path}{place}: {words(at)}")


# --- writing ---------------------------------------------------------------------------------------------------------


def write_trials(path: StrPath, trials: Trials) -> None:
    """Write a trial list: .parquet, .csv, or text as `enrol test target|nontarget`."""
    with _writer(path) as write:
        write(_columns(trials))


def write_scores(path: StrPath, scores: Scores) -> None:
    """Write a score file: .parquet, .csv, or text as `enrol test score` with the label, if known.

    Text has the fewest digits that give the same float32 or float64 when read.
    """
    with score_writer(path) as write:
        write(scores)


@contextlib.contextmanager
def score_writer(path: StrPath) -> Iterator[Callable[[Scores], None]]:
    """A context whose function writes the next part of a score file. The file appears if no error occurs.

    Either all parts have labels or none has.
    """
    with _writer(path) as write:
        yield lambda scores: write(_columns(scores.trials, score=pa.array(scores.values)))


def _columns(trials: Trials, **more: pa.Array) -> Columns:
    target = {} if trials.target is None else {"target": pa.array(trials.target)}
    return {"enrol": _compact(trials.enrol), "test": _compact(trials.test), **more, **target}


def _compact(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The column without unused ids, if there may be many."""
    if len(column.dictionary) <= len(column):
        return column
    used, places = np.unique(codes(column), return_inverse=True)
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), column.dictionary.take(pa.array(used)))


@contextlib.contextmanager
def _writer(path: StrPath) -> Iterator[Callable[[Columns], None]]:
    suffix = located(path).suffix
    kinds: dict[str, Any] = {".parquet": _ParquetParts, ".csv": _CsvParts}
    with atomic_file(path) as part:
        parts = kinds.get(suffix, _TextParts)(part, path)
        try:
            yield parts.write
        finally:
            parts.close()


def join_files(parts: Iterable[Path], out: Path) -> None:
    """Join files of one form, which were written one after the other, to `out` (all have the suffix of the first)."""
    parts = iter(parts)
    first = next(parts)
    parts = itertools.chain([first], parts)
    if first.suffix == ".parquet":
        writer = _ParquetParts(out, out)
        for part in parts:
            with pq.ParquetFile(part, read_dictionary=["enrol", "test"]) as file:
                for number in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(number))
        writer.close()
        return
    with out.open("wb") as stream:
        for number, part in enumerate(parts):
            with part.open("rb") as content:
                if number and first.suffix == ".csv":
                    content.readline()  # the header
                shutil.copyfileobj(content, stream, 1 << 20)


class _ParquetParts:
    def __init__(self, part: Path, path: StrPath) -> None:
        self._part = part
        self._file: pq.ParquetWriter | None = None

    def write(self, columns: Columns) -> None:
        self.write_table(pa.table(columns))

    def write_table(self, table: pa.Table) -> None:
        if self._file is None:
            # dictionaries of any size, so that a reader gets four-byte codes for the ids
            self._file = pq.ParquetWriter(
                self._part, table.schema, use_dictionary=["enrol", "test"], dictionary_pagesize_limit=1 << 30
            )
        self._file.write_table(table)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _CsvParts:
    def __init__(self, part: Path, path: StrPath) -> None:
        self._part = part
        self._file: Any = None

    def write(self, columns: Columns) -> None:
        table = pa.table(_as_text(columns))
        if self._file is None:
            options = pyarrow.csv.WriteOptions(quoting_style="needed")
            self._file = pyarrow.csv.CSVWriter(self._part, table.schema, write_options=options)
        self._file.write(table)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _TextParts:
    def __init__(self, part: Path, path: StrPath) -> None:
        self._path = path
        self._file = open(part, "wb")  # noqa: SIM115 (closed by close)

    def write(self, columns: Columns) -> None:
        for name in ("enrol", "test"):
            self._check_ids(columns[name])
        for start in range(0, len(columns["enrol"]), _PIECE):
            piece = _as_text({name: column.slice(start, _PIECE) for name, column in columns.items()})
            *others, last = piece.values()
            lines = pc.binary_join_element_wise(*others, pc.binary_join_element_wise(last, "\n", ""), " ")
            self._file.write(memoryview(lines.buffers()[2])[: int(_last_offset(lines))])

    def close(self) -> None:
        self._file.close()

    def _check_ids(self, ids: pa.DictionaryArray) -> None:
        blank = pc.match_substring_regex(ids.dictionary, r"\s")
        if pc.any(blank).as_py():
            row = pc.index(blank.take(ids.indices), True).as_py()
            if row >= 0:
                raise InputError(f"the id '{ids[row]}' contains a blank: write .csv or .parquet, not {self._path}")


def _last_offset(strings: pa.StringArray) -> int:
    offsets = np.frombuffer(strings.buffers()[1], np.int32, len(strings) + 1, strings.offset * 4)
    return int(offsets[-1])


def _as_text(columns: Mapping[str, pa.Array]) -> Columns:
    text = {name: column.cast(pa.string()) for name, column in columns.items() if name != "target"}
    if "target" in columns:
        text["target"] = pc.if_else(columns["target"], "target", "nontarget")
    return text
