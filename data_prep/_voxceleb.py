"""Shared by VoxCeleb1 and 2: utterance ids, the speaker table, and the trial lists."""

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
    licence="CC BY 4.0 for the annotation; audio on request from the authors",
    refusal="VoxCeleb audio must be requested from its authors. Unpack the archives below ROOT and run this again "
    "without --download",
)

# Preferred suffixes, best first, if an utterance has several files
_SUFFIXES = ["wav", "flac", "m4a"]

# Name here: published file name, number of trials, description
_LISTS = {
    "O": ("veri_test2.txt", 37_611, "VoxCeleb1-O, cleaned"),
    "E": ("list_test_all2.txt", 579_818, "VoxCeleb1-E, cleaned"),
    "H": ("list_test_hard2.txt", 550_894, "VoxCeleb1-H, cleaned"),
    "O_original": ("veri_test.txt", 37_720, "VoxCeleb1-O, original; error rates differ from the cleaned list"),
    "E_original": ("list_test_all.txt", 581_480, "VoxCeleb1-E, original; error rates differ from the cleaned list"),
    "H_original": ("list_test_hard.txt", 552_536, "VoxCeleb1-H, original; error rates differ from the cleaned list"),
}


def recordings(tree: Tree, first_digit: int) -> pa.Table:
    """The recordings SPEAKER/VIDEO/CLIP.{wav,flac,m4a} at any depth below the root, one per utterance.

    Utterance ids are SPEAKER/VIDEO/CLIP.wav for every file format, as in the trial lists. The session is the video.
    first_digit: of the speaker ids, 1 for VoxCeleb1 (id1....) and 0 for VoxCeleb2 (id0....)
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
    """The speaker table (vox1_meta.csv, vox2_meta.csv) by speaker id; empty, with a message, if the file is missing.

    The published files are separated by tabs or by commas and blanks.
    """
    found = tree.named(file)
    if not found:
        click.echo(f"{tree.root}: no {file} found; genders and nationalities are unknown")
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
    """One column of the speaker table."""
    return {speaker: form(row[column]) for speaker, row in described.items() if row.get(column)}


def publish_lists(tree: Tree, out: Path, data: DataDir, others: Sequence[Path] = ()) -> None:
    """Copy the trial lists found below the root, and `others`, under the names of `identify`."""
    for file in [*tree.named(*(file for file, _, _ in _LISTS.values())), *others]:
        name, what = identify(file)
        _trials.publish(file, out / f"{name}.txt", data, what=what)


def identify(file: Path) -> tuple[str, str]:
    """Name and description of a VoxCeleb1 trial list, recognised by its number of trials or else by its file name."""
    count = len(read_trials(file))
    by_count = [name for name, (_, trials, _) in _LISTS.items() if trials == count]
    by_name = [name for name, (published, _, _) in _LISTS.items() if published == file.name]
    if by_count:
        name = by_count[0]
        misnamed = "" if by_name in ([], [name]) else f" (the file is named {file.name})"
        return name, _LISTS[name][2] + misnamed
    name = by_name[0] if by_name else file.stem
    trials = f", which has {_LISTS[name][1]} trials" if by_name else ""
    return name, f"named as {_LISTS[name][2]}{trials}" if by_name else "unknown list"
