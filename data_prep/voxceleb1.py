"""VoxCeleb1: interviews of 1,251 celebrities. Makes data directories and trial lists.

python -m data_prep.voxceleb1 ROOT OUT

ROOT is the folder where vox1_dev_wav.zip and vox1_test_wav.zip were unpacked, in any layout
(ROOT/wav/id10001/VIDEO/CLIP.wav, ROOT/dev/wav/..., ROOT/id10001/...), as wav, flac or m4a. vox1_meta.csv, anywhere
below ROOT, provides gender and nationality. The trial lists veri_test2.txt (O, cleaned), list_test_all2.txt (E),
list_test_hard2.txt (H), and the original lists (the same names without the 2) are found anywhere below ROOT; --list
adds others. Lists are recognised by their number of trials.

Writes OUT/dev and OUT/test, the official split (test: the 40 speakers of O), OUT/all, which E and H need, and the trial
lists OUT/trials/{O,E,H}.txt (cleaned) and OUT/trials/{O,E,H}_original.txt.
"""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from data_prep import _corpus, _voxceleb
from data_prep._tree import Tree, look_up, with_columns
from data_prep._voxceleb import SOURCE
from spkver.datadir import DataDir

# The official test speakers: those whose names begin with E
_TEST = [f"id{number}" for number in range(10270, 10310)]


def prepare(tree: Tree) -> dict[str, DataDir]:
    """The parts `dev`, `test` and `all`, with the video as session; gender and nationality from vox1_meta.csv."""
    files = _voxceleb.recordings(tree, first_digit=1)
    if table := _voxceleb.speakers(tree, "vox1_meta.csv"):
        files = with_columns(
            files,
            gender=look_up(files["speaker"], _voxceleb.of(table, "gender")),
            nationality=look_up(files["speaker"], _voxceleb.of(table, "nationality")),
        )
    data = tree.data(files, "ROOT/.../id10001/VIDEO/00001.wav (or flac, m4a)")
    test = pc.is_in(data.table["speaker"], value_set=pa.array(_TEST))
    return {"dev": data.filter(pc.invert(test)), "test": data.filter(test), "all": data}


@click.command()
@_corpus.command(SOURCE)
@click.option("--list", "lists", type=click.Path(path_type=Path), multiple=True, help="A trial list outside ROOT.")
def command(tree: Tree, out: Path, lists: tuple[Path, ...]) -> None:
    """Make OUT/dev, OUT/test, OUT/all and OUT/trials from VoxCeleb1 in ROOT (wav, flac or m4a; lists below ROOT).

    \b
    Example: python -m data_prep.voxceleb1 corpora/voxceleb1 data/vox1
    """
    parts = prepare(tree)
    _corpus.write_parts(out, parts)
    _voxceleb.publish_lists(tree, out / "trials", parts["all"], lists)


if __name__ == "__main__":
    _corpus.main("voxceleb1", command)
