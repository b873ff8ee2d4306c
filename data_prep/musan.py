"""MUSAN (OpenSLR 17): music, noise and speech for augmentation. Makes data directories.

python -m data_prep.musan ROOT OUT [--download]

ROOT holds musan/{music,noise,speech}/SOURCE/FILE.wav. Writes OUT/music, OUT/noise and OUT/speech, which are
mixed at different SNRs. Ids are KIND/SOURCE/FILE; the speaker column holds the kind.
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
    """Make the data directories OUT/music, OUT/noise and OUT/speech from MUSAN in ROOT.

    \b
    Example: python -m data_prep.musan corpora data/musan --download
    """
    _corpus.write_parts(out, prepare(tree))


if __name__ == "__main__":
    _corpus.main("musan", command)
