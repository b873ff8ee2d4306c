"""The files of a corpus, by column: found, told apart by a pattern over their paths, made a data directory.

A million paths are one Arrow array and one regular expression over it, not a loop.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spkver.datadir import DataDir, read_seconds
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.lists import read_lines
from spkver.progress import bar
from spkver.text import is_text

# The suffixes of what can be read, and the end of such a path
SUFFIXES = r"(?i:wav|flac|ogg|oga|opus|mp3|aiff|aif|aifc|au|snd|caf|sph|w64|rf64|nist|voc|m4a|aac|amr|webm|wma)"
AUDIO = rf"\.{SUFFIXES}$"

# The columns of a data directory that a table of files may have
_COLUMNS = ("id", "speaker", "session", "language", "genre", "gender", "age", "nationality", "seconds")
_WORDS = ("speaker", "id", "recording", "session", "language", "genre", "gender", "age", "nationality")


@dataclass(frozen=True)
class Tree:
    """The files below a folder.

    names: their paths below `root`, with `/`, sorted by bytes, an Arrow string array
    durations: whether to read every recording's duration from its header for the data directory
    """

    root: Path
    names: pa.Array
    durations: bool = True

    @classmethod
    def read(cls, root: StrPath, listing: StrPath | None = None, *, durations: bool = True) -> Tree:
        """Walk the folder, or take its files from a list that was made before (a path a line, below `root` or not).

        Raises InputError if there is no such folder, for a name that is not UTF-8 and, with its line, for a path of
        the list that leaves `root`.
        """
        if not Path(root).is_dir():
            raise InputError(f"{root}: no such folder")
        names = _listed(Path(root), Path(listing)) if listing else _walked(Path(root))
        return cls(Path(root), names.take(pc.sort_indices(names)), durations)

    def below(self, folder: str) -> Tree:
        """The files below one of its folders, which has no trailing `/`."""
        inner = self.names.filter(pc.starts_with(self.names, f"{folder}/"))
        return Tree(self.root / folder, pc.utf8_slice_codeunits(inner, len(folder) + 1), self.durations)

    def match(self, pattern: str) -> pa.Table:
        """The files whose path fits a regular expression (RE2): `name`, and a column for each named group."""
        found = pc.extract_regex(self.names, pattern=f"(?s){pattern}")  # names may hold line ends
        fits = pc.is_valid(found)
        found = found.filter(fits)
        columns = {field.name: pc.struct_field(found, [field.name]) for field in found.type}
        return pa.table({"name": self.names.filter(fits), **columns})

    def named(self, *basenames: str) -> list[Path]:
        """The files of these names, in the order of the names."""
        table = self.match(r"^(?:.*/)?(?P<base>[^/]+)$")
        found = [table["name"].filter(pc.equal(table["base"], base)).to_pylist() for base in basenames]
        return [self.root / name for names in found for name in names]

    def data(self, files: pa.Table, expected: str) -> DataDir:
        """A data directory of some of the files.

        files: columns `name`, `id`, `speaker` and whatever else a data directory has of an utterance, names of any kind
        Raises InputError, saying what was expected, if there are none, and as `as_words` does.
        """
        if not files.num_rows:
            raise InputError(f"{self.root}: no recordings found; expected {expected}")
        columns = {name: files[name] for name in _COLUMNS if name in files.column_names}
        paths = join_words(str(self.root.resolve()), files["name"], between="/")
        columns |= {"recording": columns["id"], "path": paths}
        if self.durations and "seconds" not in columns:
            columns["seconds"] = pa.array(read_seconds(paths.to_pylist()), pa.float64())
        return as_words(DataDir(pa.table(columns)))


def walk(root: Path) -> Iterator[str]:
    """Every file below a folder as a path relative to it, in no order, as the disk gives them.

    Hidden files and folders are left out. Links are followed, unless they lead back to a folder they stand in.
    A folder that cannot be read is an OSError: nothing is left out in silence.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not _is_folder(entry):
                    yield folder + entry.name
                elif not (entry.is_symlink() and _leads_back(entry.path)):
                    pending.append(f"{folder}{entry.name}/")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself: a recording that packing will reject
            return False
        raise


def _leads_back(link: str) -> bool:
    inner, outer = os.path.realpath(Path(link).parent), os.path.realpath(link)
    return os.path.commonpath([inner, outer]) == outer


def _walked(root: Path) -> pa.Array:
    names = []
    with bar(total=None, what="looking for files", unit="file") as progress:
        for name in walk(root):
            names.append(name)
            progress.update()
    return as_text(names, str(root))


def _listed(root: Path, listing: Path) -> pa.Array:
    lines = read_lines(listing)
    names = pc.replace_substring_regex(lines, r"^\./", "")
    for place in {root.as_posix(), root.resolve().as_posix()}:
        below = pc.starts_with(names, f"{place.rstrip('/')}/")
        names = pc.if_else(below, pc.utf8_slice_codeunits(names, len(place.rstrip("/")) + 1), names)
    refuse_outside(names, listing, first_line=1)
    return names


def as_text(names: list[str], where: str) -> pa.Array:
    """Names of files as an Arrow string array. Raises InputError for one that is not UTF-8."""
    try:
        return pa.array(names, pa.string())
    except UnicodeEncodeError:
        bad = next(name for name in names if not is_text(name))
        raise InputError(f"{where}/{os.fsencode(bad)!r}: the name is not UTF-8; rename it") from None


def refuse_outside(names: pa.Array, file: Path, *, first_line: int) -> None:
    """Raise InputError with file and line for the first of the paths that is empty, absolute or goes through `..`."""
    outside = pc.match_substring_regex(names, r"^$|^/|^\.\.?$|^\.\./|/\.\./|/\.\.$")
    if (row := pc.index(pc.fill_null(outside, True), True).as_py()) >= 0:
        raise InputError(f"{file}:{row + first_line}: {names[row].as_py()!r} is not a path below the corpus's folder")


def as_words(data: DataDir) -> DataDir:
    """The same with words of a Kaldi list for names: every blank and control character becomes `_`.

    Raises InputError for two speakers, utterances, recordings or sessions of a speaker that would become the same.
    """
    table = data.table
    for name in (name for name in _WORDS if name in table.column_names):
        column = table[name].combine_chunks()
        made = pc.replace_substring_regex(column, r"[\s\p{Z}\p{Cc}]", "_")
        if pc.any(pc.not_equal(made, column)).as_py():
            if name == "session":  # a speaker's own: its speaker is a word by now
                _refuse_merged(name, *(join_words(table["speaker"], one, between="/") for one in (column, made)))
            elif name in ("speaker", "id", "recording"):
                _refuse_merged({"id": "utterance"}.get(name, name), column, made)
            table = table.set_column(table.schema.get_field_index(name), name, made)
    return DataDir(table.sort_by("id"))


def _refuse_merged(kind: str, names: Any, made: Any) -> None:
    pairs = pa.table({"name": names, "word": made}).group_by("word").aggregate([("name", "count_distinct")])
    merged = pairs.filter(pc.greater(pairs["name_count_distinct"], 1))
    if len(merged):
        word = merged["word"][0].as_py()
        first, second = sorted(pc.unique(names.filter(pc.equal(made, word))).to_pylist())[:2]
        raise InputError(f"{first!r} and {second!r} would both be {kind} {word!r}: rename one")


def or_null(column: Any) -> Any:
    """Null where a text is empty: a group of a pattern that took part in no match."""
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def join_words(*columns: Any, between: str) -> Any:
    """Texts joined row by row."""
    return pc.binary_join_element_wise(*columns, between)


def look_up(keys: Any, values: Mapping[str, str | None]) -> pa.Array:
    """The value of every key, null for one that is not known."""
    known, of = pa.array(list(values), pa.string()), pa.array(list(values.values()), pa.string())
    return of.take(pc.index_in(keys, value_set=known))


def with_columns(files: pa.Table, **columns: Any) -> pa.Table:
    """The table with columns added or replaced; a single value stands for every row."""
    held = {name: files[name] for name in files.column_names}
    for name, column in columns.items():
        held[name] = pa.repeat(column, files.num_rows) if isinstance(column, str) else column
    return pa.table(held)
