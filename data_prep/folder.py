"""Any folder of recordings ROOT/SPEAKER/**/FILE, in any mix of formats. Makes a data directory.

python -m data_prep.folder ROOT OUT

Utterance ids are the paths below ROOT. The first folder below the speaker folder, if any, is the session.
"""

from __future__ import annotations

from pathlib import Path

import click

from data_prep import _corpus
from data_prep._tree import AUDIO, Tree, or_null, with_columns
from spkver.datadir import DataDir
from spkver.errors import InputError

_EXPECTED = "ROOT/SPEAKER/.../FILE.wav (or flac, ogg, mp3, ...)"


def prepare(tree: Tree) -> DataDir:
    """The recordings below ROOT/SPEAKER/ as a data directory. Other files are ignored.

    Raises InputError if there are no recordings, if recordings lie directly in ROOT, and if two speaker names become
    equal when their blanks are replaced.
    """
    stray = tree.match(r"^[^/]+" + AUDIO)["name"]
    if len(stray):
        raise InputError(f"{tree.root / stray[0].as_py()}: not in a speaker folder; expected {_EXPECTED}")
    files = tree.match(r"^(?P<speaker>[^/]+)/(?:(?P<session>[^/]+)/.*)?[^/]+" + AUDIO)
    return tree.data(with_columns(files, id=files["name"], session=or_null(files["session"])), _EXPECTED)


@click.command()
@_corpus.command()
def command(tree: Tree, out: Path) -> None:
    """Make the data directory OUT from the recordings ROOT/SPEAKER/.../FILE.

    \b
    Example: python -m data_prep.folder ~/recordings data/mine
    """
    _corpus.write(out, prepare(tree))


if __name__ == "__main__":
    _corpus.main("folder", command)
