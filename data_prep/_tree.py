"""Find the files of a corpus, parse their paths by a regular expression, and make a data directory of them.

All paths are one Arrow array, so a corpus of a million files needs no Python loop.
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

# Suffixes of readable recordings, and a pattern for the end of their paths
SUFFIXES = r"(?i:wav|flac|ogg|oga|opus|mp3|aiff|aif|aifc|au|snd|caf|sph|w64|rf64|nist|voc|m4a|aac|amr|webm|wma)"
AUDIO = rf"\.{SUFFIXES}$"

# Columns that are copied from a table of files to the data directory
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
        """List the files below `root`, or read them from `listing` (one path per line, relative to `root` or with it).

        Raises InputError if `root` does not exist, if a name is not UTF-8, and with the line number if a listed path is
        outside `root`.
        """
        if not Path(root).is_dir():
            raise InputError(f"{root}: no such folder")
        names = _listed(Path(root), Path(listing)) if listing else _walked(Path(root))
        return cls(Path(root), names.take(pc.sort_indices(names)), durations)

    def below(self, folder: str) -> Tree:
        """The files below a subfolder, given without trailing `/`."""
        inner = self.names.filter(pc.starts_with(self.names, f"{folder}/"))
        return Tree(self.root / folder, pc.utf8_slice_codeunits(inner, len(folder) + 1), self.durations)

    def match(self, pattern: str) -> pa.Table:
        """The files whose path matches a regular expression (RE2): column `name` and a column for each named group."""
        found = pc.extract_regex(self.names, pattern=f"(?s){pattern}")  # file names may contain newlines
        fits = pc.is_valid(found)
        found = found.filter(fits)
        columns = {field.name: pc.struct_field(found, [field.name]) for field in found.type}
        return pa.table({"name": self.names.filter(fits), **columns})

    def named(self, *basenames: str) -> list[Path]:
        """The files with these base names, in the order given."""
        table = self.match(r"^(?:.*/)?(?P<base>[^/]+)$")
        found = [table["name"].filter(pc.equal(table["base"], base)).to_pylist() for base in basenames]
        return [self.root / name for names in found for name in names]

    def data(self, files: pa.Table, expected: str) -> DataDir:
        """A data directory of some of the files.

        files: columns `name`, `id`, `speaker`, and any other column of a data directory; values may contain blanks
        expected: an example path, for the error message
        Raises InputError if `files` is empty, and as `as_words` does.
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
    """The relative path of every file below a folder, in arbitrary order.

    Hidden files and folders are skipped. Links are followed, except links to a parent folder.
    Raises OSError for a folder that cannot be read.
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
        if error.errno == errno.ELOOP:  # a link to itself: packing will reject it
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
    """File names as an Arrow string array. Raises InputError for a name that is not UTF-8."""
    try:
        return pa.array(names, pa.string())
    except UnicodeEncodeError:
        bad = next(name for name in names if not is_text(name))
        raise InputError(f"{where}/{os.fsencode(bad)!r}: the name is not UTF-8; rename it") from None


def refuse_outside(names: pa.Array, file: Path, *, first_line: int) -> None:
    """Raise InputError with file and line for the first path that is empty, absolute, or contains `..`."""
    outside = pc.match_substring_regex(names, r"^$|^/|^\.\.?$|^\.\./|/\.\./|/\.\.$")
    if (row := pc.index(pc.fill_null(outside, True), True).as_py()) >= 0:
        raise InputError(f"{file}:{row + first_line}: {names[row].as_py()!r} is not a path below the corpus folder")


def as_words(data: DataDir) -> DataDir:
    """Replace every blank and control character in names by `_`, as Kaldi lists require.

    Raises InputError if two speakers, utterances, recordings or sessions of a speaker would get the same name.
    """
    table = data.table
    for name in (name for name in _WORDS if name in table.column_names):
        column = table[name].combine_chunks()
        made = pc.replace_substring_regex(column, r"[\s\p{Z}\p{Cc}]", "_")
        if pc.any(pc.not_equal(made, column)).as_py():
            if name == "session":  # sessions are named per speaker; the speaker column is already replaced
                _refuse_merged(name, *(join_words(table["speaker"], one, between="/") for one in (column, made)))
            elif name in ("speaker", "id", "recording"):
                _refuse_merged({"id": "utterance"}.get(name, name), column, made)
            table = table.set_column(table.schema.get_field_index(name), name, made)
    return DataDir(table.sort_by("id"))


def _refuse_merged(kind: str, names: Any, made: Any) -> None:
    pairs = (
        pa.table({"name": names, "word": made})
        .group_by("word", use_threads=False)
        .aggregate([("name", "count_distinct")])
    )
    merged = pairs.filter(pc.greater(pairs["name_count_distinct"], 1))
    if len(merged):
        word = merged["word"][0].as_py()
        first, second = sorted(pc.unique(names.filter(pc.equal(made, word))).to_pylist())[:2]
        raise InputError(f"{first!r} and {second!r} would both become {kind} {word!r}; rename one")


def or_null(column: Any) -> Any:
    """Replace empty strings (groups that did not match) by null."""
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def join_words(*columns: Any, between: str) -> Any:
    """Strings joined row by row."""
    return pc.binary_join_element_wise(*columns, between)


def look_up(keys: Any, values: Mapping[str, str | None]) -> pa.Array:
    """The value of every key; null for an unknown key."""
    known, of = pa.array(list(values), pa.string()), pa.array(list(values.values()), pa.string())
    return of.take(pc.index_in(keys, value_set=known))


def with_columns(files: pa.Table, **columns: Any) -> pa.Table:
    """The table with columns added or replaced; a string is repeated for every row."""
    held = {name: files[name] for name in files.column_names}
    for name, column in columns.items():
        held[name] = pa.repeat(column, files.num_rows) if isinstance(column, str) else column
    return pa.table(held)
