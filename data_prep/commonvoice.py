"""Common Voice: sentences read by volunteers. Makes data directories of one language.

python -m data_prep.commonvoice ROOT OUT [--part validated]

ROOT is the folder of one language (cv-corpus-VERSION/LANGUAGE with clips/ and validated.tsv, train.tsv, dev.tsv, ...).
The speaker is the client id, which is a browser profile: usually one person, but several persons may share one, and one
person may have several. Writes OUT/PART for each part, by default validated, train, dev and test if present.
The official dev and test parts share no client id with train. Gender and age are self-reported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from data_prep import _corpus
from data_prep._download import Source
from data_prep._tree import Tree, join_words, look_up, or_null, refuse_outside
from spkver.datadir import DataDir
from spkver.errors import InputError
from spkver.lists import reading_csv

SOURCE = Source(
    home="https://datacollective.mozillafoundation.org",
    licence="CC0 1.0",
    refusal="Common Voice must be downloaded in a browser after accepting its terms, such as not identifying speakers. "
    "Unpack it below ROOT and run this again without --download",
)

PARTS = ("validated", "train", "dev", "test", "other", "invalidated")
_GENDERS = {"male": "m", "female": "f", "male_masculine": "m", "female_feminine": "f"}


def prepare(tree: Tree, parts: tuple[str, ...] = ()) -> dict[str, DataDir]:
    """The given parts; by default validated, train, dev and test, if present.

    Utterance ids are clips/FILE; durations come from clip_durations.tsv if present.
    Raises InputError with file and line for a clip outside clips/.
    """
    wanted = parts or tuple(part for part in PARTS[:4] if (tree.root / f"{part}.tsv").is_file())
    if not wanted:
        raise InputError(f"{tree.root}: validated.tsv not found; expected the folder of one language of Common Voice")
    durations = _durations(tree.root / "clip_durations.tsv")
    return {part: _part(tree, tree.root / f"{part}.tsv", durations) for part in wanted}


def _part(tree: Tree, file: Path, durations: pa.Table | None) -> DataDir:
    table = _read(file, ["client_id", "path"])
    clips = table["path"].combine_chunks()
    refuse_outside(clips, file, first_line=2)
    clips = pc.if_else(pc.match_substring_regex(clips, r"\.[a-z0-9]+$"), clips, join_words(clips, "mp3", between="."))
    names = join_words("clips", clips, between="/")
    columns: dict[str, Any] = {"name": names, "id": names, "speaker": table["client_id"]}
    if "gender" in table.column_names:
        columns["gender"] = look_up(table["gender"].combine_chunks(), _GENDERS)
    for ours, theirs in (("age", "age"), ("language", "locale")):
        if theirs in table.column_names:
            columns[ours] = or_null(table[theirs])
    if durations is not None:
        columns["seconds"] = durations["seconds"].take(pc.index_in(clips, value_set=durations["clip"].combine_chunks()))
    return tree.data(pa.table(columns), f"rows in {file}")


def _durations(file: Path) -> pa.Table | None:
    if not file.is_file():
        return None
    table = _read(file, ["clip", "duration[ms]"])
    try:
        seconds = pc.divide(table["duration[ms]"].cast(pa.float64()), 1000.0)
        return pa.table({"clip": table["clip"], "seconds": seconds})
    except pa.ArrowInvalid as error:
        raise InputError(f"{file}: expected 'clip, duration[ms]' ({error})") from error


def _read(file: Path, needed: list[str]) -> pa.Table:
    """Read a Common Voice table: tab-separated, no quoting, all columns as text."""
    with reading_csv(file, "a tab-separated table"):
        with pyarrow.csv.open_csv(file, parse_options=_TABS) as reader:
            names = reader.schema.names
        used = [name for name in names if name in _COLUMNS]
        as_text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(used, pa.string()), include_columns=used)
        one_thread = pyarrow.csv.ReadOptions(use_threads=False)  # so that errors name the row
        table = pyarrow.csv.read_csv(file, one_thread, _TABS, as_text)
    if lost := [name for name in needed if name not in names]:
        raise InputError(f"{file}:1: no column {lost[0]!r}; the columns are {', '.join(names)}")
    return table


_COLUMNS = ("client_id", "path", "age", "gender", "locale", "clip", "duration[ms]")
_TABS = pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False)


@click.command()
@_corpus.command(SOURCE)
@click.option(
    "--part", "parts", type=click.Choice(PARTS), multiple=True, help="Part to convert [default: the first four]."
)
def command(tree: Tree, out: Path, parts: tuple[str, ...]) -> None:
    """Make data directories OUT/PART of one language of Common Voice in ROOT.

    \b
    Example: python -m data_prep.commonvoice cv-corpus-17.0/cy data/cy --part validated
    """
    _corpus.write_parts(out, prepare(tree, parts))


if __name__ == "__main__":
    _corpus.main("commonvoice", command)
