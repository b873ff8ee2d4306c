"""MUSAN (OpenSLR 17): music, noises and speech to mix into training recordings, to data directories.

python -m data_prep.musan ROOT OUT [--download]

ROOT holds musan/{music,noise,speech}/SOURCE/FILE.wav. Makes OUT/music, OUT/noise, OUT/speech, since each is mixed at
ratios of its own. Ids are KIND/SOURCE/FILE as elsewhere; where a data directory wants a speaker it has the kind.
"""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow.compute as pc

from data_prep import _corpus
from data_prep._download import Source, openslr
from data_prep._tree import SUFFIXES, Tree
from spkver.datadir import DataDir

SOURCE = Source(
    home="https://www.openslr.org/17",
    licence="CC BY 4.0",
    archives={"musan": openslr(17, "musan.tar.gz", size=11086114085, digest="md5:0c472d4fc0c5141eca47ad1ffeb2a7df")},
)

KINDS = ("music", "noise", "speech")


def prepare(tree: Tree) -> dict[str, DataDir]:
    """The recordings of each kind, with the source (free-sound, librivox, ...) as session."""
    kinds = "|".join(KINDS)
    files = tree.match(rf"^(?:.*/)?(?P<id>(?P<speaker>{kinds})/(?P<session>[a-z-]+)/[^/]+\.{SUFFIXES})$")
    data = tree.data(files, "ROOT/musan/noise/free-sound/noise-free-sound-0000.wav")
    return {kind: data.filter(pc.equal(data.table["speaker"], kind)) for kind in KINDS}


@click.command()
@_corpus.command(SOURCE)
def command(tree: Tree, out: Path) -> None:
    """Make OUT/music, OUT/noise and OUT/speech of MUSAN in ROOT.

    \b
    Example: python -m data_prep.musan corpora data/musan --download
    """
    _corpus.write_parts(out, prepare(tree))


if __name__ == "__main__":
    _corpus.main("musan", command)
