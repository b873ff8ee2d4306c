"""Write data directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver.datadir.table import (
    CHANNELS,
    OF_SPEAKERS,
    OF_UTTERANCES,
    PATH,
    WORD,
    DataDir,
    flat,
    of_two_paths,
    repeated,
)
from spkver.errors import InputError
from spkver.files import StrPath, atomic_directories

_TIMES = ("start", "end", "seconds")


def write_datadir(path: StrPath, data: DataDir) -> None:
    """Write a data directory atomically, every file sorted by its key.

    Raises InputError for values that the format cannot hold (blanks in an id or speaker, line ends in a path), for
    repeated ids, and if `path` exists and is not a data directory.
    """
    write_datadirs([(path, data)])


def write_datadirs(parts: Sequence[tuple[StrPath, DataDir]]) -> None:
    """Write several data directories, all or none; see `write_datadir`."""
    with atomic_directories(*(path for path, _ in parts), holds="wav.scp") as folders:
        for folder, (_, data) in zip(folders, parts):
            _write_lists(folder, data.table.sort_by("id"))


def _write_lists(folder: Path, table: pa.Table) -> None:
    _check_writable(table)
    names = [name for name in table.column_names if table[name].null_count < len(table)]
    segmented = "start" in names
    _write_pairs(folder / "wav.scp", table, "recording", "path", unique=not segmented)
    _write_pairs(folder / "utt2spk", table, "id", "speaker", unique=True)
    if segmented:
        end = pc.fill_null(table["end"], -1.0)
        text = [table["id"], table["recording"], table["start"].cast(pa.string()), end.cast(pa.string())]
        _write_lines(folder / "segments", text)
    if "channel" in names:
        _write_channels(folder / CHANNELS, table)
    for name, file in OF_UTTERANCES.items():
        if name in names:
            _write_pairs(folder / file, table, "id", name, unique=True)
    for name, file in OF_SPEAKERS.items():
        if name in names:
            _write_pairs(folder / file, table, "speaker", name)


def _check_writable(table: pa.Table) -> None:
    if not table.num_rows:
        raise InputError("no utterances left: a data directory needs at least one")
    for name in table.column_names:
        if not pa.types.is_string(table[name].type):
            continue
        pattern = PATH if name == "path" else WORD
        needed = name in ("id", "speaker", "recording", "path")
        good = pc.fill_null(pc.match_substring_regex(table[name], pattern), not needed)
        if not pc.all(good).as_py():
            row = pc.index(good, False).as_py()
            whose = "" if name == "id" else f" (utterance {table['id'][row].as_py()!r})"
            what = "is empty, or has blanks, line ends or control characters, which a Kaldi list cannot hold"
            raise InputError(f"{name} {table[name][row].as_py()!r} {what}{whose}")
    if pc.any(again := repeated(flat(table["id"]))).as_py():
        raise InputError(
            f"utterance id {table['id'].filter(again)[0].as_py()!r} occurs more than once: ids must differ"
        )
    _check_seconds(table)
    if "start" in table.column_names and pc.any(other := of_two_paths(table)).as_py():
        raise InputError(f"recording {table['recording'].filter(other)[0].as_py()!r} has two paths: ids must differ")


def _check_seconds(table: pa.Table) -> None:
    """Raises InputError for times that `read_datadir` would refuse."""
    bad = pa.array(np.zeros(len(table), bool))
    for name in [name for name in _TIMES if name in table.column_names]:
        bad = pc.or_(bad, pc.invert(pc.and_(pc.is_finite(table[name]), pc.greater_equal(table[name], 0.0))))
        bad = pc.fill_null(bad, name == "start")
    if "start" in table.column_names:
        bad = pc.or_(bad, pc.fill_null(pc.less_equal(table["end"], table["start"]), False))
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        times = ", ".join(f"{name} {table[name][row].as_py()}" for name in _TIMES if name in table.column_names)
        raise InputError(
            f"utterance {table['id'][row].as_py()!r}: {times}: expected seconds >= 0 and the end after the start"
        )


def _write_pairs(path: Path, table: pa.Table, key: str, value: str, *, unique: bool = False) -> None:
    """Write one line per key, sorted, without rows that have no value. `unique`: the keys of the table are distinct."""
    pairs = table.select([key, value]).filter(pc.is_valid(table[value]))
    if not unique:
        pairs = pairs.group_by([key], use_threads=False).aggregate([(value, "first")]).sort_by(key)
    _write_lines(path, [pairs[0 if unique else key], pairs[1 if unique else f"{value}_first"].cast(pa.string())])


def _write_channels(path: Path, table: pa.Table) -> None:
    rows = table.select(["recording", "path", "channel"]).filter(pc.is_valid(table["channel"])).to_pylist()
    found = {
        row["recording"]: f"{'_'.join(Path(row['path']).stem.split()) or row['recording']} {chr(65 + row['channel'])}"
        for row in rows
    }
    path.write_text("".join(f"{name} {rest}\n" for name, rest in sorted(found.items())), encoding="utf-8")


def _write_lines(path: Path, columns: Sequence[pa.ChunkedArray]) -> None:
    """Write the columns with a blank between them. The buffer of Arrow's string array is the text of the file."""
    table = pa.table(list(columns), names=[str(number) for number in range(len(columns))])
    with path.open("wb") as stream:
        for batch in table.to_batches(max_chunksize=1 << 20):
            lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*batch.columns, " "), "", "\n")
            stream.write(memoryview(lines.buffers()[2])[: pc.sum(pc.binary_length(lines)).as_py()])
