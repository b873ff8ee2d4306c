"""Any folder of recordings, ROOT/SPEAKER/**/FILE, in any mix of formats, to a data directory.

python -m data_prep.folder ROOT OUT

Utterance ids are the paths below ROOT. The first folder below a speaker's, if there is one, is the session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import click

from data_prep import _corpus
from spkver.datadir import DataDir, from_columns, read_seconds
from spkver.errors import InputError
from spkver.files import StrPath


def prepare(root: StrPath) -> DataDir:
    """The recordings below ROOT/SPEAKER/ as a data directory. Files of other kinds are left out.

    Raises InputError if there are none, if recordings lie directly in ROOT, and if two speakers' names become the
    same when their blanks are replaced.
    """
    names = [name for name in _corpus.find_files(root) if _corpus.is_recording(name)]
    if not names:
        raise InputError(f"{root}: no recordings found; expected {root}/SPEAKER/.../FILE.wav (or flac, ogg, mp3, ...)")
    parts = [PurePosixPath(name).parts for name in names]
    stray = next((name for name, part in zip(names, parts) if len(part) == 1), None)
    if stray is not None:
        raise InputError(f"{Path(root) / stray}: outside any speaker's folder; expected {root}/SPEAKER/.../FILE")
    folders = sorted({part[0] for part in parts})
    _refuse_equal(folders)
    sessions = [_corpus.word(part[1]) if len(part) > 2 else None for part in parts]
    paths = [str(Path(root).resolve() / name) for name in names]
    return from_columns(
        ids=[_corpus.word(name) for name in names],
        paths=paths,
        speakers=[_corpus.word(part[0]) for part in parts],
        sessions=sessions if any(sessions) else None,
        seconds=read_seconds(paths),
    )


def _refuse_equal(folders: Sequence[str]) -> None:
    word, count = Counter(_corpus.word(folder) for folder in folders).most_common(1)[0]
    if count > 1:
        first, second = [folder for folder in folders if _corpus.word(folder) == word][:2]
        raise InputError(f"the folders {first!r} and {second!r} would both be speaker {word!r}: rename one")


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def command(root: Path, out: Path) -> None:
    """Make the data directory OUT of the recordings ROOT/SPEAKER/.../FILE.

    \b
    Example: python -m data_prep.folder ~/recordings data/mine
    """
    _corpus.write(out, prepare(root))


if __name__ == "__main__":
    _corpus.main("folder", command)
