"""speechocean762 (OpenSLR 101): English read by 250 Mandarin speakers, half of them children. Makes data directories.

python -m data_prep.speechocean762 ROOT OUT [--dev-speakers 20 --seed 1]

ROOT is the published corpus (WAVE/, train/, test/) or a tree {train,test}/SPEAKER/FILE with speakers.tsv (speaker,
gender, age, split). Writes OUT/train and OUT/test, the official split by speaker. --dev-speakers also writes OUT/dev,
that many of the training speakers, and OUT/train_core, the other training speakers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from data_prep import _corpus
from data_prep._download import Source, openslr
from data_prep._tree import AUDIO, Tree, look_up, refuse_outside, with_columns
from spkver.cli import options
from spkver.datadir import DataDir, split
from spkver.errors import InputError
from spkver.lists import read_columns, read_lines

SPLITS = ("train", "test")
SOURCE = Source(
    home="https://www.openslr.org/101",
    licence="CC BY 4.0",
    archives={"speechocean762": openslr(101, "speechocean762.tar.gz")},
)


def prepare(tree: Tree) -> dict[str, DataDir]:
    """The official training and test parts, `train` and `test`, with gender and age.

    Utterance ids are the paths below the corpus folder. Raises InputError if the folder has neither layout, or if a
    speaker has no gender or age.
    """
    if (tree.root / "speechocean762").is_dir():  # the layout of --download
        tree = tree.below("speechocean762")
    if (tree.root / "speakers.tsv").is_file():
        return {part: _from_tree(tree, part) for part in SPLITS}
    if (tree.root / "train" / "wav.scp").is_file():
        return {part: _from_lists(tree, part) for part in SPLITS}
    raise InputError(f"{tree.root}: neither speakers.tsv nor train/wav.scp found; expected the root of speechocean762")


def choose_dev(train: DataDir, count: int, seed: int) -> list[str]:
    """`count` speakers spread evenly over gender and age: every n-th of the speakers sorted by both.

    The seed sets the offset, and the order of speakers of equal gender and age.
    """
    described = dict(zip(train.speakers, zip(train.required("gender", "dev"), train.required("age", "dev"))))
    if not 0 < count < len(described):
        raise InputError(f"{count} development speakers requested, but there are {len(described)} training speakers")
    random = np.random.default_rng(seed)
    shuffled = random.permutation(sorted(described)).tolist()
    ordered = sorted(shuffled, key=lambda speaker: (described[speaker][0], float(described[speaker][1])))
    places = (np.arange(count) + random.random()) * len(ordered) / count
    return sorted(ordered[int(place)] for place in places)


def _from_tree(tree: Tree, part: str) -> DataDir:
    """{train,test}/SPEAKER/FILE with speakers.tsv."""
    source = tree.root / "speakers.tsv"
    header, *lines = read_lines(source).to_pylist() or [""]
    names = header.split("\t")
    if not {"speaker", "gender", "age"} <= set(names):
        raise InputError(f"{source}:1: expected the columns speaker, gender, age")
    rows = []
    for number, line in enumerate(lines, 2):
        if line.count("\t") != len(names) - 1:
            raise InputError(f"{source}:{number}: expected {len(names)} columns, got {line[:80]!r}")
        rows.append(dict(zip(names, line.split("\t"))))
    files = tree.match(rf"^{part}/(?:.*/)?(?P<speaker>[^/]+)/[^/]+" + AUDIO)
    genders, ages = ({row["speaker"]: row[name] for row in rows} for name in ("gender", "age"))
    return _describe(tree, with_columns(files, id=files["name"]), genders, ages, source)


def _from_lists(tree: Tree, part: str) -> DataDir:
    """The published layout: wav.scp with paths below ROOT, utt2spk, spk2gender, spk2age."""
    lists = tree.root / part
    wav = read_columns(lists / "wav.scp", ["key", "name"])
    refuse_outside(wav["name"], lists / "wav.scp", first_line=1)
    speaker_of = _pairs(lists / "utt2spk")
    lost = sorted(set(wav["key"].to_pylist()) - speaker_of.keys())
    if lost:
        raise InputError(f"{lists / 'utt2spk'}: no speaker for {lost[0]!r} of wav.scp ({len(lost)} such utterances)")
    files = pa.table({"name": wav["name"], "id": wav["name"], "speaker": look_up(wav["key"], speaker_of)})
    genders, ages = _pairs(lists / "spk2gender"), _pairs(lists / "spk2age")
    return _describe(tree, files, genders, ages, lists / "spk2gender and spk2age")


def _describe(
    tree: Tree, files: pa.Table, genders: Mapping[str, str], ages: Mapping[str, str], source: Path
) -> DataDir:
    speakers = set(files["speaker"].unique().to_pylist())
    if unknown := sorted(speakers - (genders.keys() & ages.keys())):
        raise InputError(f"{source}: speaker {unknown[0]!r} has no gender or age ({len(unknown)} such speakers)")
    described = {"gender": look_up(files["speaker"], genders), "age": look_up(files["speaker"], ages)}
    return tree.data(with_columns(files, **described), "the root of speechocean762")


def _pairs(path: Path) -> dict[str, str]:
    columns = read_columns(path, ["key", "value"])
    return dict(zip(columns["key"].to_pylist(), columns["value"].to_pylist()))


@click.command()
@_corpus.command(SOURCE)
@click.option("--dev-speakers", type=click.IntRange(min=1), help="Training speakers to hold out for development.")
@options.seed("Random seed of the held-out speakers.")
def command(tree: Tree, out: Path, dev_speakers: int | None, seed: int) -> None:
    """Make the data directories OUT/train and OUT/test (OUT/dev, OUT/train_core) from speechocean762 in ROOT.

    \b
    Example: python -m data_prep.speechocean762 corpora/speechocean762 data --dev-speakers 20
    """
    parts = prepare(tree)
    if dev_speakers is not None:
        chosen = choose_dev(parts["train"], dev_speakers, seed)
        parts["train_core"], parts["dev"] = split(parts["train"], named=chosen)
    _corpus.write_parts(out, parts)


if __name__ == "__main__":
    _corpus.main("speechocean762", command)
