"""Metadata of the ids of a trial list: speakers, genders, durations, ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from spkver import lists
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.storage import located
from spkver.trials import Trials, codes


def read_table(path: StrPath) -> pa.Table:
    """The metadata of ids, a row for each: a data directory or pack, a .csv or .parquet file with a column `id`, or a
    list of lines `id speaker` (utt2spk).

    A file of embeddings is such a table as well, with the norms of the embeddings in the column `norm`.
    Raises InputError if it cannot be read, has no column `id`, or an id in two rows.
    """
    path = located(path)
    if path.is_dir():
        from spkver.source import open_source

        return open_source(path, allow_pipes=True).table()  # nothing is run: only the lists are read
    readers = {".parquet": _from_parquet, ".csv": _from_csv}
    table = readers.get(path.suffix, _from_list)(path)
    if "id" not in table.column_names:
        raise InputError(f"{path}: no column 'id'; the columns are {', '.join(table.column_names)}")
    for name in table.column_names:
        if table.column_names.count(name) > 1:
            raise InputError(f"{path}: the column '{name}' occurs {table.column_names.count(name)} times")
    ids = lists.cast(table["id"], pa.string(), f"{path}: the column 'id'")
    table = table.set_column(table.column_names.index("id"), "id", ids)
    if (twice := lists.first_duplicate(ids.combine_chunks())) is not None:
        raise InputError(f"{path}: the id '{twice}' is in two rows")
    return table


def read_speakers(paths: Sequence[StrPath]) -> dict[str, str]:
    """The speaker of each id, from files and directories as for `read_table`.

    Raises InputError if one of them has no speakers, and for an id with two speakers.
    """
    found: dict[str, str] = {}
    for path in paths:
        table = read_table(path)
        if "speaker" not in table.column_names:
            raise InputError(f"{path}: no column 'speaker'; the columns are {', '.join(table.column_names)}")
        names = lists.cast(table["speaker"], pa.string(), f"{path}: the column 'speaker'")
        for name, speaker in zip(table["id"].to_pylist(), names.to_pylist()):
            if speaker and found.setdefault(name, speaker) != speaker:
                raise InputError(f"{path}: '{name}' has two speakers: '{found[name]}' and '{speaker}'")
    return found


def speakers_of(trials: Trials, speakers: pa.Table | Mapping[str, str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The speakers of both sides of the trials as codes, int64 (trials,), and the names of the speakers.

    speakers: the speaker of each id, or a table with the columns `id` and `speaker`
    Raises InputError for an id without a speaker.
    """
    if not isinstance(speakers, pa.Table):
        speakers = pa.table({"id": list(speakers), "speaker": list(speakers.values())})
    if "speaker" not in speakers.column_names:
        raise InputError(f"no column 'speaker'; the columns are {', '.join(speakers.column_names)}")
    column = lists.cast(speakers["speaker"], pa.string(), "the column 'speaker'").combine_chunks()
    encoded = column.dictionary_encode()
    names = sorted(encoded.dictionary.to_pylist())
    place = {name: number for number, name in enumerate(names)}
    numbers = np.array([*(place[name] for name in encoded.dictionary.to_pylist()), len(names)], np.int32)
    own = numbers[encoded.indices.fill_null(len(names)).to_numpy()]
    sides = []
    for side in (trials.enrol, trials.test):
        found = look_up(side, speakers, own, len(names))
        if (found == len(names)).any():
            raise InputError(f"the speaker of '{side[int(np.argmax(found))]}' is not known")
        sides.append(found.astype(np.int64))
    return sides[0], sides[1], names


def look_up(side: pa.DictionaryArray, table: pa.Table, values: np.ndarray, unknown: int) -> np.ndarray:
    """The value of each id of a column; values: one for each row of the table; unknown: for ids not in the table."""
    rows = pc.index_in(side.dictionary, value_set=table["id"].cast(pa.string()).combine_chunks())
    found: np.ndarray = np.append(values, unknown)[rows.fill_null(len(values)).to_numpy()]
    return found[codes(side)]


def _from_list(path: StrPath) -> pa.Table:
    return pa.table(lists.read_columns(path, ["id", "speaker"]))


def _from_parquet(path: StrPath) -> pa.Table:
    with lists.reading(path, "a Parquet file of ids"):
        table = pq.ParquetFile(path).read()
        table.validate(full=True)  # text that is not UTF-8
        return _with_norms(table)


def _from_csv(path: StrPath) -> pa.Table:
    as_text = pyarrow.csv.ConvertOptions(column_types={"id": pa.string(), "speaker": pa.string()})
    with lists.reading_csv(path):
        table = pyarrow.csv.read_csv(path, convert_options=as_text)
        for name, column in zip(table.column_names, table.columns):
            if pa.types.is_binary(column.type):  # pyarrow's type for columns that are not UTF-8
                raise pa.ArrowInvalid(f"the column '{name}' is not UTF-8 text")
    return table


def _with_norms(table: pa.Table) -> pa.Table:
    if "embedding" not in table.column_names or not pa.types.is_fixed_size_list(table["embedding"].type):
        return table
    column = table["embedding"].combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return table.drop_columns(["embedding"]).append_column("norm", pa.array(np.linalg.norm(values, axis=1)))
