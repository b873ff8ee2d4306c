"""VCTK: sentences read by 110 English speakers with various accents. Makes a data directory.

python -m data_prep.vctk ROOT OUT [--download] [--mic mic1]

ROOT holds wav48_silence_trimmed/p225/p225_001_mic1.flac (version 0.92, two microphones) or wav48/p225/p225_001.wav
(0.80), and speaker-info.txt, at any depth. Each speaker was recorded in a single session, so error rates on this
corpus are optimistic. The audio has 48 kHz; packing resamples it.
"""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from data_prep import _corpus
from data_prep._download import Archive, Source
from data_prep._tree import Tree, look_up, with_columns
from spkver.datadir import DataDir
from spkver.lists import read_lines

# size and checksum: those that torchaudio and tensorflow-datasets share
SOURCE = Source(
    home="https://datashare.ed.ac.uk/handle/10283/3443",
    licence="CC BY 4.0",
    archives={
        "VCTK-0.92": Archive(
            ("https://datashare.is.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip",),
            11747302977,
            "sha256:f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c",
        )
    },
)


def prepare(tree: Tree, mic: str = "mic1") -> DataDir:
    """The recordings of one microphone, `mic1` or `mic2`, or `both`; gender and age if speaker-info.txt is present.

    Utterance ids are SPEAKER/FILE. Recordings of version 0.80, which has no microphone names, are always included.
    """
    files = tree.match(
        r"^(?:.*/)?wav48[^/]*/(?P<id>(?P<speaker>[ps]\d+)/[ps]\d+_\d+(?:_(?P<mic>mic\d))?\.(?:flac|wav))$"
    )
    if mic != "both":
        files = files.filter(pc.is_in(files["mic"], value_set=pa.array([mic, ""])))
    if table := _speakers(tree):
        ages, genders = ({speaker: row[place] for speaker, row in table.items()} for place in (0, 1))
        files = with_columns(files, age=look_up(files["speaker"], ages), gender=look_up(files["speaker"], genders))
    return tree.data(files, f"ROOT/wav48_silence_trimmed/p225/p225_001_{mic}.flac")


def _speakers(tree: Tree) -> dict[str, tuple[str, str]]:
    """Age and gender by speaker: `p225  23  F    English    Southern  England`; version 0.80 omits the p."""
    table = {}
    for file in tree.named("speaker-info.txt")[:1]:
        for line in read_lines(file).to_pylist():
            fields = line.split()
            if len(fields) > 2 and fields[1].isdigit() and fields[2] in ("F", "M"):  # otherwise a header line
                speaker = fields[0] if fields[0][0] in "ps" else f"p{fields[0]}"
                table[speaker] = (fields[1], fields[2].lower())
    return table


@click.command()
@_corpus.command(SOURCE)
@click.option("--mic", type=click.Choice(["mic1", "mic2", "both"]), default="mic1", show_default=True)
def command(tree: Tree, out: Path, mic: str) -> None:
    """Make the data directory OUT from VCTK in ROOT.

    \b
    Example: python -m data_prep.vctk corpora data/vctk --download
    """
    _corpus.write(out, prepare(tree, mic))


if __name__ == "__main__":
    _corpus.main("vctk", command)
