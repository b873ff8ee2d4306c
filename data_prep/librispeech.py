"""LibriSpeech (OpenSLR 12) and mini LibriSpeech (31): audio books. Makes data directories and trial lists.

python -m data_prep.librispeech ROOT OUT [--download --part dev-clean-2 --part train-clean-5]

ROOT contains, or is, the folder LibriSpeech/ with PART/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac and SPEAKERS.TXT
(genders). Writes OUT/PART for every part present, with the chapter as session. There is no published trial list, so
OUT/PART/trials.txt is generated for the dev and test parts: all target pairs across chapters, and same-gender
non-target pairs. The chapters of a reader are often recorded in the same place, so these trials are easy.
"""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow.compute as pc

from data_prep import _corpus, _trials
from data_prep._download import Source, openslr
from data_prep._tree import Tree, look_up, with_columns
from spkver.cli import options
from spkver.datadir import DataDir
from spkver.errors import InputError
from spkver.lists import read_lines

# sizes and checksums: for 31 OpenSLR's md5sum.txt, for 12 those that torchaudio and tensorflow-datasets share
_ARCHIVES = {
    "dev-clean-2": (31, 126046265, "md5:6d7ab67ac6a1d2c993d050e16d61080d"),
    "train-clean-5": (31, 332954390, "md5:5df7d4e78065366204ca6845bb08f490"),
    "dev-clean": (12, 337926286, "sha256:76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"),
    "dev-other": (12, 314305928, "sha256:12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"),
    "test-clean": (12, 346663984, "sha256:39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"),
    "test-other": (12, 328757843, "sha256:d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"),
    "train-clean-100": (12, 6387309499, "sha256:d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2"),
    "train-clean-360": (12, 23049477885, "sha256:146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf"),
    "train-other-500": (12, 30593501606, "sha256:ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2"),
}

SOURCE = Source(
    home="https://www.openslr.org/12",
    licence="CC BY 4.0",
    archives={
        part: openslr(number, f"{part}.tar.gz", size=size, digest=digest)
        for part, (number, size, digest) in _ARCHIVES.items()
    },
    default=("dev-clean-2", "train-clean-5"),
)


def prepare(tree: Tree) -> dict[str, DataDir]:
    """Every part present, with genders if SPEAKERS.TXT is present.

    Utterance ids are PART/SPEAKER/CHAPTER/FILE.
    """
    files = tree.match(
        r"^(?:.*/)?(?P<id>(?P<part>(?:train|dev|test)-[a-z]+(?:-\d+)?)/(?P<speaker>\d+)/(?P<session>\d+)/[\d-]+\.(?:flac|wav))$"
    )
    if genders := _genders(tree):
        files = with_columns(files, gender=look_up(files["speaker"], genders))
    whole = tree.data(files, "ROOT/LibriSpeech/dev-clean/SPEAKER/CHAPTER/FILE.flac")
    return {
        part: whole.filter(pc.starts_with(whole.table["id"], f"{part}/"))
        for part in sorted(files["part"].unique().to_pylist())
    }


def _genders(tree: Tree) -> dict[str, str]:
    """SPEAKERS.TXT: `14   | F | train-clean-360  | 25.03 | Kristin LeMoine`, with comments after `;`."""
    genders = {}
    for file in tree.named("SPEAKERS.TXT")[:1]:
        for number, line in enumerate(read_lines(file).to_pylist(), 1):
            if line.strip() and not line.startswith(";"):
                fields = [field.strip() for field in line.split("|")]
                if len(fields) < 4 or fields[1] not in ("M", "F"):
                    raise InputError(
                        f"{file}:{number}: expected 'ID | M or F | part | minutes | name', got {line[:80]!r}"
                    )
                genders[fields[0]] = fields[1].lower()
    return genders


@click.command()
@_corpus.command(SOURCE)
@click.option("--nontargets", type=click.IntRange(1), help="Non-target trials per list [default: at most 100,000].")
@options.seed("Random seed of the non-target trials.")
def command(tree: Tree, out: Path, nontargets: int | None, seed: int) -> None:
    """Make OUT/PART for every part of LibriSpeech in ROOT, and cross-chapter trials for the dev and test parts.

    \b
    Example: python -m data_prep.librispeech corpora data/libri --download --part dev-clean-2
    """
    for name, part in prepare(tree).items():
        _corpus.write(out / name, part)
        if not name.startswith("train") and _trials.has_targets(part):
            _trials.across_sessions(out / name / "trials.txt", part, nontargets=nontargets, seed=seed)


if __name__ == "__main__":
    _corpus.main("librispeech", command)
