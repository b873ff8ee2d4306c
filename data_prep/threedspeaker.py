"""3D-Speaker: Mandarin dialects, recorded by several devices at several distances. Makes data directories.

python -m data_prep.threedspeaker ROOT OUT [--download]

ROOT holds train/ and test/ with 3D_SPK_NNNNN_TAKE_DeviceNN_DistanceNN_DialectNN.wav at any depth, and the published
lists (trials_cross_device, trials_cross_distance, trials_cross_dialect), at any depth. Writes
OUT/train, OUT/test and OUT/trials. The session is the take: its recordings by different devices hold the same speech.
"""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow.compute as pc

from data_prep import _corpus, _trials
from data_prep._download import Archive, Source
from data_prep._tree import Tree, look_up, with_columns
from spkver.datadir import DataDir
from spkver.trials import read_trials

_URL = "https://speech-lab-share-data.oss-cn-shanghai.aliyuncs.com/3D-Speaker"

# addresses and checksums: from the authors' script
SOURCE = Source(
    home="https://3dspeaker.github.io",
    licence="CC BY-SA 4.0",
    archives={
        "files": Archive((f"{_URL}/3dspeaker_files.tar.gz",)),
        "test": Archive((f"{_URL}/test.tar.gz",), digest="md5:45972606dd10d3f7c1c31f27acdfbed7"),
        "train": Archive(
            tuple(f"{_URL}/train.tar.gz-part-{piece}" for piece in "abcdef"),
            digest="md5:c2cea55fd22a2b867d295fb35a2d3340",
        ),
    },
)

LISTS = ("trials_cross_device", "trials_cross_distance", "trials_cross_dialect")


def prepare(tree: Tree) -> dict[str, DataDir]:
    """The parts `train` and `test`, if present.

    Utterance ids are those of the trial lists, otherwise the file names without suffix.
    """
    files = tree.match(
        r"^(?P<above>.*/|)(?P<id>(?P<speaker>3D_SPK_\d+)_(?P<session>\d+)_Device\d+_Distance\d+_(?P<genre>Dialect\d+))\.(?:wav|flac)$"
    )
    written = {_key(name): name for file in tree.named(*LISTS) for name in _names(file)}
    files = with_columns(files, id=pc.coalesce(look_up(files["id"], written), files["id"]))
    data = tree.data(files, "ROOT/train/.../3D_SPK_00001_001_Device03_Distance00_Dialect00.wav")
    tested = files["speaker"].filter(pc.match_substring_regex(files["above"], r"(?:^|/)test/")).unique()
    test = pc.is_in(data.table["speaker"], value_set=tested)
    return {"train": data.filter(pc.invert(test)), "test": data.filter(test)}


def _names(file: Path) -> set[str]:
    trials = read_trials(file)
    return {*trials.enrol.unique().to_pylist(), *trials.test.unique().to_pylist()}


def _key(name: str) -> str:
    return Path(name).name.partition(".")[0]


@click.command()
@_corpus.command(SOURCE)
def command(tree: Tree, out: Path) -> None:
    """Make the data directories OUT/train and OUT/test and the lists OUT/trials from 3D-Speaker in ROOT.

    \b
    Example: python -m data_prep.threedspeaker corpora/3dspeaker data/3dspeaker --download --part test --part files
    """
    parts = prepare(tree)
    _corpus.write_parts(out, parts)
    for file in tree.named(*LISTS):
        _trials.publish(file, out / "trials" / file.name, parts["test"])


if __name__ == "__main__":
    _corpus.main("threedspeaker", command)
