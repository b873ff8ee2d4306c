"""What VoxCeleb1 and 2 share: ids, the speakers' table, and the trial lists with their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep import _trials
from data_prep._download import Source
from data_prep._tree import Tree, join_words, with_columns
from spkver.datadir import DataDir
from spkver.errors import InputError
from spkver.lists import read_lines
from spkver.trials import read_trials

SOURCE = Source(
    home="https://www.robots.ox.ac.uk/~vgg/data/voxceleb/",
    licence="CC BY 4.0 for the annotation; the audio is other people's, on request",
    refusal="VoxCeleb's audio is given out on request only: ask its authors there for a download, unpack the archives "
    "below ROOT and run this again without --download",
)

# Of which of several files of one utterance to take, the first that is there
_SUFFIXES = ["wav", "flac", "m4a"]

# Trial list: its published name, the number of its trials, what it is
_LISTS = {
    "O": ("veri_test2.txt", 37_611, "VoxCeleb1-O, cleaned"),
    "E": ("list_test_all2.txt", 579_818, "VoxCeleb1-E, cleaned"),
    "H": ("list_test_hard2.txt", 550_894, "VoxCeleb1-H, cleaned"),
    "O_original": ("veri_test.txt", 37_720, "VoxCeleb1-O as first published: other error rates than the cleaned list"),
    "E_original": ("list_test_all.txt", 581_480, "VoxCeleb1-E as first published: other error rates than the cleaned"),
    "H_original": ("list_test_hard.txt", 552_536, "VoxCeleb1-H as first published: other error rates than the cleaned"),
}


def recordings(tree: Tree, first_digit: int) -> pa.Table:
    """The recordings SPEAKER/VIDEO/CLIP.{wav,flac,m4a}, wherever they lie below the root, one for each utterance.

    Utterance ids are SPEAKER/VIDEO/CLIP.wav whatever the file's format, since the trial lists write them so. The
    session is the video. Speakers are id1.... in VoxCeleb1 and id0.... in VoxCeleb2.
    """
    files = tree.match(
        rf"^(?P<above>.*/|)(?P<id>(?P<speaker>id{first_digit}\d{{4}})/(?P<session>[^/]+)/\d+)\.(?P<suffix>wav|flac|m4a)$"
    )
    files = with_columns(files, id=join_words(files["id"], "wav", between="."))
    if pc.count_distinct(files["id"]).as_py() == files.num_rows:
        return files
    rank = pc.index_in(files["suffix"], value_set=pa.array(_SUFFIXES))
    files = files.append_column("rank", rank).sort_by([("id", "ascending"), ("rank", "ascending")])
    ids = files["id"].combine_chunks().to_numpy(zero_copy_only=False)
    return files.filter(pa.array(np.append(True, ids[1:] != ids[:-1])))


def speakers(tree: Tree, file: str) -> dict[str, dict[str, str]]:
    """The table of speakers (vox1_meta.csv, vox2_meta.csv), by id; empty, with a word about it, if it is not there.

    The published files are separated by tabs or by commas with blanks around them.
    """
    found = tree.named(file)
    if not found:
        click.echo(f"{tree.root}: no {file} below it, so genders and nationalities are not known")
        return {}
    lines = read_lines(found[0]).to_pylist() or [""]
    between = "\t" if "\t" in lines[0] else ","
    names = [name.strip().split(" ")[-1].lower() for name in lines[0].split(between)]
    if len(names) < 4 or names[0] != "id" or not {"gender", "set"} <= set(names):
        raise InputError(f"{found[0]}:1: expected '... ID, ... ID, Gender, ..., Set', got {lines[0][:80]!r}")
    table = {}
    for number, line in enumerate(lines[1:], 2):
        row = [value.strip() for value in line.split(between)]
        if len(row) < len(names):
            raise InputError(f"{found[0]}:{number}: expected {len(names)} columns, got {len(row)}")
        table[row[0]] = dict(zip(names[1:], row[1:]))
    return table


def of(described: dict[str, dict[str, str]], column: str, form: Callable[[str], str] = str) -> dict[str, str | None]:
    """One column of the table of speakers."""
    return {speaker: form(row[column]) for speaker, row in described.items() if row.get(column)}


def publish_lists(tree: Tree, out: Path, data: DataDir, others: Sequence[Path] = ()) -> None:
    """Carry over the trial lists that lie below the root, and others, named by what they are."""
    for file in [*tree.named(*(file for file, _, _ in _LISTS.values())), *others]:
        name, what = identify(file)
        _trials.publish(file, out / f"{name}.txt", data, what=what)


def identify(file: Path) -> tuple[str, str]:
    """Which of the VoxCeleb1 lists a file holds, by the number of its trials whatever its name, and a word about it."""
    count = len(read_trials(file))
    by_count = [name for name, (_, trials, _) in _LISTS.items() if trials == count]
    by_name = [name for name, (published, _, _) in _LISTS.items() if published == file.name]
    if by_count:
        name = by_count[0]
        misnamed = "" if by_name in ([], [name]) else f" (though the file is named {file.name})"
        return name, _LISTS[name][2] + misnamed
    name = by_name[0] if by_name else file.stem
    trials = f", though that has {_LISTS[name][1]} trials" if by_name else ""
    return name, f"named as {_LISTS[name][2]}{trials}" if by_name else "not a list that is known here"
