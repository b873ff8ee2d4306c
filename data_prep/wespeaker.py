"""Convert the raw and shard lists of wespeaker to a data directory.

python -m data_prep.wespeaker raw.list OUT
python -m data_prep.wespeaker shard.list OUT --audio FOLDER

A raw list has one JSON object per line: key, wav, spk, and optionally vad, which is not used. A shard list has the path
of one tar archive per line; its members KEY.spk and KEY.wav (or flac, mp3, m4a, ogg, opus, wma) make an utterance. The
recordings are unpacked in FOLDER; no member can be written outside it.
"""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow as pa

from data_prep import _corpus
from data_prep._manifests import absolute, read_objects, text
from data_prep._tree import Tree, as_words
from spkver import archives
from spkver.cli import outputs
from spkver.datadir import DataDir, from_columns, read_seconds
from spkver.errors import InputError
from spkver.lists import read_lines
from spkver.progress import bar
from spkver.text import decoded

_AUDIO = {"wav", "flac", "mp3", "m4a", "ogg", "opus", "wma"}


def prepare_raw(listing: Path, *, base: Path | None = None, durations: bool = True) -> DataDir:
    """The utterances of a raw list; relative paths are below `base` (None: the current folder).

    Raises InputError with file and line for anything else.
    """
    ids, paths, speakers, with_vad = [], [], [], 0
    for where, value in read_objects(listing):
        ids.append(text(value, "key", where))
        speakers.append(text(value, "spk", where))
        wav = text(value, "wav", where)
        paths.append(wav if wav.rstrip().endswith("|") else absolute(wav, base))
        with_vad += bool(value.get("vad"))
    if with_vad:
        click.echo(f"{listing}: vad of {with_vad} utterances not used")
    seconds = read_seconds(paths) if durations else None
    return as_words(from_columns(ids, paths, speakers, seconds=seconds))


def prepare_shards(listing: Path, folder: Path, *, base: Path | None = None, durations: bool = True) -> DataDir:
    """The utterances of a shard list. Recordings are unpacked in `folder`; existing files are kept.

    Raises InputError for a missing shard, a member outside the folder, and a key without speaker or recording; RunError
    for a damaged shard.
    """
    speakers: dict[str, str] = {}
    names: dict[str, str] = {}
    shards = [line.strip() for line in read_lines(listing).to_pylist()]
    with bar(total=len(shards), what="unpacking", unit="shard") as progress:
        for line, shard in enumerate(shards, 1):
            path = Path(absolute(shard, base))
            if not path.is_file():
                raise InputError(f"{listing}:{line}: shard {shard!r} not found; download the shards first")
            _unpack(path, folder, speakers, names)
            progress.update()
    for have, other, what in ((names, speakers, "no .spk"), (speakers, names, "no recording")):
        if lost := sorted(have.keys() - other.keys()):
            raise InputError(f"{listing}: {what} for the key {lost[0]!r} ({len(lost)} such keys)")
    keys = sorted(names)
    files = pa.table({"name": [names[key] for key in keys], "id": keys, "speaker": [speakers[key] for key in keys]})
    return Tree(folder, files["name"], durations).data(files, "KEY.spk and KEY.wav in the shards")


def _unpack(shard: Path, folder: Path, speakers: dict[str, str], names: dict[str, str]) -> None:
    with archives.reading(shard), shard.open("rb") as stream:
        for member, size, content in archives.members(stream, shard.name):
            key, _, suffix = member.removeprefix("./").rpartition(".")
            if suffix == "spk":
                _note(speakers, key, decoded(content.read(1 << 16), f"{shard}: {member}").strip(), shard)
            elif suffix in _AUDIO:
                target = archives.place(folder, member, str(shard))
                archives.put(content, target, size)
                _note(names, key, target.relative_to(folder.resolve()).as_posix(), shard)


def _note(table: dict[str, str], key: str, value: str, shard: Path) -> None:
    if table.setdefault(key, value) != value:
        raise InputError(f"{shard}: duplicate key {key!r}")


_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("listing", metavar="LIST", type=_PATH)
@click.argument("out", type=outputs.DIRECTORY)
@click.option("--audio", type=_PATH, help="Folder to unpack the recordings of shards in.")
@click.option("--base", type=_PATH, help="Folder of relative paths [default: the current one].")
@click.option("--durations/--no-durations", default=True, show_default=True, help="Read durations from the headers.")
def command(listing: Path, out: Path, audio: Path | None, base: Path | None, durations: bool) -> None:
    """Make the data directory OUT from a raw or shard LIST of wespeaker.

    \b
    Example: python -m data_prep.wespeaker data/vox2_dev/shard.list data/vox2 --audio audio/vox2
    """
    first = next((line for line in read_lines(listing).to_pylist() if line.strip()), "")
    if not first:
        raise InputError(f"{listing}: empty list")
    if first.lstrip().startswith("{"):
        data = prepare_raw(listing, base=base, durations=durations)
    elif audio is None:
        raise InputError(f"{listing}: a shard list needs --audio FOLDER to unpack its recordings in")
    else:
        data = prepare_shards(listing, audio, base=base, durations=durations)
    _corpus.write(out, data)


if __name__ == "__main__":
    _corpus.main("wespeaker", command)
