"""Convert a Kaldi data directory, as made by the recipes of other toolkits.

python -m data_prep.kaldi DIR OUT [--base FOLDER]

wav.scp, utt2spk, segments, spk2gender, utt2dur and the rest are checked and copied. Relative paths become absolute. A
trial list (trials) is copied. Shell commands in wav.scp are kept with --allow-pipes and are otherwise an error, as are
recordings inside Kaldi archives (FILE.ark:OFFSET).
"""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow.compute as pc

from data_prep import _corpus, _trials
from data_prep._tree import join_words
from spkver.cli import outputs
from spkver.datadir import DataDir, read_datadir
from spkver.errors import InputError

_PIPE = r"\|\s*$"


def prepare(directory: Path, *, base: Path | None = None, allow_pipes: bool = False) -> DataDir:
    """The data directory with absolute paths; relative paths are below `base` (None: the current folder).

    Raises InputError as `read_datadir` does, and for recordings in Kaldi archives.
    """
    data = read_datadir(directory, allow_pipes=allow_pipes)
    paths = data.table["path"]
    inside = pc.match_substring_regex(paths, r"\.ark:\d+(?:\[.*\])?$")
    if pc.any(inside).as_py():
        row = pc.index(inside, True).as_py()
        raise InputError(
            f"{directory}/wav.scp: {data.table['recording'][row].as_py()!r} is inside a Kaldi archive "
            f"({paths[row].as_py()}); write the recordings to files (wav-copy)"
        )
    stands = pc.match_substring_regex(paths, rf"^/|{_PIPE}")
    below = join_words(str((base or Path()).resolve()), paths, between="/")
    place = data.table.schema.get_field_index("path")
    return DataDir(data.table.set_column(place, "path", pc.if_else(stands, paths, below)))


_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("directory", metavar="DIR", type=_PATH)
@click.argument("out", type=outputs.DIRECTORY)
@click.option("--base", type=_PATH, help="Folder of relative paths [default: the current one].")
@click.option("--allow-pipes", is_flag=True, help="Keep shell commands in wav.scp.")
def command(directory: Path, out: Path, base: Path | None, allow_pipes: bool) -> None:
    """Make the data directory OUT from the Kaldi data directory DIR.

    \b
    Example: python -m data_prep.kaldi kaldi/egs/voxceleb/v2/data/train data/train --base kaldi/egs/voxceleb/v2
    """
    data = prepare(directory, base=base, allow_pipes=allow_pipes)
    _corpus.write(out, data)
    if (directory / "trials").is_file():
        _trials.publish(directory / "trials", out / "trials", data)


if __name__ == "__main__":
    _corpus.main("kaldi", command)
