"""speechocean762 (OpenSLR 101): English read by 250 Mandarin speakers, half of them children, to data directories.

python -m data_prep.speechocean762 ROOT OUT [--dev-speakers 20 --seed 1]

ROOT is the published corpus (WAVE/, train/, test/) or a tree {train,test}/SPEAKER/FILE with speakers.tsv (speaker,
gender, age, split). Makes OUT/train and OUT/test, the official split by speaker; with --dev-speakers also OUT/dev,
so many of the training speakers, and OUT/train_core, the training speakers without them.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from data_prep import _corpus
from spkver.datadir import DataDir, from_columns, read_seconds, split
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.lists import read_columns

SPLITS = ("train", "test")


def prepare(root: StrPath) -> dict[str, DataDir]:
    """The official training and test parts, `train` and `test`, with gender and age.

    Utterance ids are the paths below `root`. Raises InputError if `root` has neither form, or if a speaker is not
    described.
    """
    base = Path(root)
    if (base / "speakers.tsv").is_file():
        return {part: _from_tree(base, part) for part in SPLITS}
    if (base / "train" / "wav.scp").is_file():
        return {part: _from_lists(base, part) for part in SPLITS}
    raise InputError(f"{root}: neither speakers.tsv nor train/wav.scp is here; expected the root of speechocean762")


def choose_dev(train: DataDir, count: int, seed: int) -> list[str]:
    """`count` speakers spread evenly over gender and age: every n-th of the speakers sorted by both.

    The seed settles where the counting starts and the order of speakers alike in both.
    """
    described = dict(zip(train.speakers, zip(train.required("gender", "dev"), train.required("age", "dev"))))
    if not 0 < count < len(described):
        raise InputError(f"{count} development speakers wanted of {len(described)} training speakers")
    random = np.random.default_rng(seed)
    shuffled = random.permutation(sorted(described)).tolist()
    ordered = sorted(shuffled, key=lambda speaker: (described[speaker][0], float(described[speaker][1])))
    places = (np.arange(count) + random.random()) * len(ordered) / count
    return sorted(ordered[int(place)] for place in places)


def _from_tree(root: Path, part: str) -> DataDir:
    """{train,test}/SPEAKER/FILE with speakers.tsv."""
    with (root / "speakers.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    if not rows or not {"speaker", "gender", "age"} <= set(rows[0]):
        raise InputError(f"{root / 'speakers.tsv'}:1: expected the columns speaker, gender, age")
    described = {row["speaker"]: (row["gender"], row["age"]) for row in rows}
    names = [f"{part}/{name}" for name in _corpus.find_files(root / part) if _corpus.is_recording(name)]
    return _describe(root, names, [Path(name).parent.name for name in names], described, root / "speakers.tsv")


def _from_lists(root: Path, part: str) -> DataDir:
    """The published form: wav.scp with paths below ROOT, utt2spk, spk2gender, spk2age."""
    lists = root / part
    wav = _pairs(lists / "wav.scp")
    speaker_of = _pairs(lists / "utt2spk")
    genders, ages = _pairs(lists / "spk2gender"), _pairs(lists / "spk2age")
    if lost := sorted(wav.keys() - speaker_of.keys()):
        raise InputError(f"{lists / 'utt2spk'}: no speaker for {lost[0]!r} of wav.scp ({len(lost)} such utterances)")
    described = {speaker: (genders[speaker], ages[speaker]) for speaker in genders.keys() & ages.keys()}
    speakers = [speaker_of[utterance] for utterance in wav]
    return _describe(root, list(wav.values()), speakers, described, lists / "spk2gender and spk2age")


def _describe(
    root: Path, names: Sequence[str], speakers: Sequence[str], described: dict[str, tuple[str, str]], source: Path
) -> DataDir:
    if not names:
        raise InputError(f"{root}: no recordings found")
    if unknown := sorted(set(speakers) - described.keys()):
        raise InputError(f"{source}: speaker {unknown[0]!r} is not described ({len(unknown)} such speakers)")
    paths = [str(root.resolve() / name) for name in names]
    return from_columns(
        ids=names,
        paths=paths,
        speakers=speakers,
        seconds=read_seconds(paths),
        genders=[described[speaker][0] for speaker in speakers],
        ages=[described[speaker][1] for speaker in speakers],
    )


def _pairs(path: Path) -> dict[str, str]:
    columns = read_columns(path, ["key", "value"])
    return dict(zip(columns["key"].to_pylist(), columns["value"].to_pylist()))


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--dev-speakers", type=click.IntRange(min=1), help="Keep so many training speakers for development.")
@click.option("--seed", default=1, show_default=True, help="The same seed keeps the same speakers.")
def command(root: Path, out: Path, dev_speakers: int | None, seed: int) -> None:
    """Make the data directories OUT/train and OUT/test of speechocean762 in ROOT (and OUT/dev, OUT/train_core).

    \b
    Example: python -m data_prep.speechocean762 corpora/speechocean762 data --dev-speakers 20
    """
    parts = prepare(root)
    if dev_speakers is not None:
        chosen = choose_dev(parts["train"], dev_speakers, seed)
        parts["train_core"], parts["dev"] = split(parts["train"], named=chosen)
    for name, part in parts.items():
        _corpus.write(out / name, part)


if __name__ == "__main__":
    _corpus.main("speechocean762", command)
