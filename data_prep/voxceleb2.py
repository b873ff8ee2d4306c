"""VoxCeleb2: interviews of 6,112 celebrities. Makes data directories.

python -m data_prep.voxceleb2 ROOT OUT

ROOT is the folder where the archives were unpacked, in any layout (ROOT/dev/aac/id00012/VIDEO/CLIP.m4a, ROOT/wav/...),
as m4a, wav or flac. If an utterance has several files, wav is preferred to flac, and flac to m4a. vox2_meta.csv,
anywhere below ROOT, provides the gender and the test speakers; without it, the folder names tell the test speakers.

Writes OUT/dev and OUT/test. No benchmark uses the test part of VoxCeleb2; it can serve as development data.
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


def prepare(tree: Tree) -> dict[str, DataDir]:
    """The parts `dev` and `test`, with the video as session, and the gender if vox2_meta.csv is present."""
    files = _voxceleb.recordings(tree, first_digit=0)
    table = _voxceleb.speakers(tree, "vox2_meta.csv")
    if table:
        files = with_columns(files, gender=look_up(files["speaker"], _voxceleb.of(table, "gender")))
        test = [speaker for speaker, part in _voxceleb.of(table, "set", str.lower).items() if part == "test"]
    else:
        inside = pc.match_substring_regex(files["above"], r"(?:^|/)(?:vox2_)?test(?:_[a-z0-9]+)?/")
        test = files["speaker"].filter(inside).unique().to_pylist()
    data = tree.data(files, "ROOT/.../id00012/VIDEO/00001.m4a (or wav, flac)")
    tested = pc.is_in(data.table["speaker"], value_set=pa.array(test, pa.string()))
    return {"dev": data.filter(pc.invert(tested)), "test": data.filter(tested)}


@click.command()
@_corpus.command(SOURCE)
def command(tree: Tree, out: Path) -> None:
    """Make the data directories OUT/dev and OUT/test from VoxCeleb2 in ROOT (m4a, wav or flac).

    \b
    Example: python -m data_prep.voxceleb2 corpora/voxceleb2 data/vox2 --no-durations
    """
    _corpus.write_parts(out, prepare(tree))


if __name__ == "__main__":
    _corpus.main("voxceleb2", command)
