"""lhotse manifests, read without lhotse, to a data directory.

python -m data_prep.lhotse RECORDINGS SUPERVISIONS OUT [--base FOLDER]

RECORDINGS and SUPERVISIONS are .jsonl or .jsonl.gz. A supervision is an utterance: a segment, unless all of them are
whole recordings. Its speaker, gender and language are carried over, and with --session the field of `custom` of that
name. Recordings must be files of one channel without transforms; a command becomes a pipe, which runs only with
--allow-pipes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from data_prep import _corpus
from data_prep._manifests import absolute, number, read_objects, text
from data_prep._tree import words
from spkver.datadir import DataDir, from_columns
from spkver.errors import InputError

_SLACK = 0.02  # seconds by which a supervision of a whole recording may differ from it
_GENDERS = {"male": "m", "m": "m", "female": "f", "f": "f"}


class _Recording(NamedTuple):
    path: str
    seconds: float


class _Utterance(NamedTuple):
    id: str
    recording: str
    path: str
    start: float
    seconds: float
    whole: bool
    speaker: str
    gender: str | None
    language: str | None
    session: str | None


def prepare(recordings: Path, supervisions: Path, *, base: Path | None = None, session: str | None = None) -> DataDir:
    """The supervisions as utterances.

    base: relative paths of the recordings are below it; None: below the current folder
    Raises InputError with file and line for what a data directory cannot say.
    """
    known: dict[str, _Recording] = {}
    for line, value in read_objects(recordings):
        where = f"{recordings}:{line}"
        name = text(value, "id", where)
        if name in known:
            raise InputError(f"{where}: the recording {name!r} occurs again")
        known[name] = _recording(value, where, base)
    rows = [_utterance(value, f"{supervisions}:{line}", known, session) for line, value in read_objects(supervisions)]
    if not rows:
        raise InputError(f"{supervisions}: holds no supervisions")
    whole = all(row.whole for row in rows) and len({row.recording for row in rows}) == len(rows)
    return from_columns(
        ids=words([row.id for row in rows]),
        paths=[row.path for row in rows],
        speakers=words([row.speaker for row in rows]),
        seconds=[row.seconds for row in rows],
        genders=_known([row.gender for row in rows]),
        languages=_known([row.language for row in rows]),
        sessions=_known([row.session for row in rows]),
        recordings=None if whole else words([row.recording for row in rows]),
        starts=None if whole else [row.start for row in rows],
        ends=None if whole else [row.start + row.seconds for row in rows],
    )


def _known(values: list[str | None]) -> Any:
    return words(values) if any(values) else None


def _recording(value: dict[str, Any], where: str, base: Path | None) -> _Recording:
    sources = value.get("sources")
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
        raise InputError(f"{where}: expected one source, got {str(sources)[:80]}")
    if value.get("transforms"):
        raise InputError(f"{where}: the recording has transforms; save it with lhotse as it should be heard")
    channels = value.get("channel_ids") or sources[0].get("channels") or [0]
    if len(channels) != 1:
        raise InputError(f"{where}: {len(channels)} channels; save each as a recording of its own")
    source, kind = text(sources[0], "source", where), sources[0].get("type")
    if kind == "file":
        path = absolute(source, base)
    elif kind == "command":
        path = f"{source.rstrip().removesuffix('|').rstrip()} |"
    else:
        raise InputError(f"{where}: a source of type {kind!r}; only files and commands can be read")
    return _Recording(path, number(value, "duration", where))


def _utterance(value: dict[str, Any], where: str, known: dict[str, _Recording], session: str | None) -> _Utterance:
    name = text(value, "recording_id", where)
    if name not in known:
        raise InputError(f"{where}: the recording {name!r} is not among the recordings")
    recording = known[name]
    start, seconds = number(value, "start", where), number(value, "duration", where)
    custom = value.get("custom") or {}
    return _Utterance(
        id=text(value, "id", where),
        recording=name,
        path=recording.path,
        start=start,
        seconds=seconds,
        whole=start == 0 and abs(seconds - recording.seconds) <= _SLACK,
        speaker=text(value, "speaker", where),
        gender=_GENDERS.get(str(value.get("gender")).lower()),
        language=value.get("language"),
        session=None if session is None else text(custom, session, f"{where}: custom"),
    )


_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("recordings", type=_PATH)
@click.argument("supervisions", type=_PATH)
@click.argument("out", type=_PATH)
@click.option("--base", type=_PATH, help="Relative paths are below this folder [default: the current one].")
@click.option("--session", help="The field of `custom` that holds the session.")
def command(recordings: Path, supervisions: Path, out: Path, base: Path | None, session: str | None) -> None:
    """Make the data directory OUT of lhotse's RECORDINGS and SUPERVISIONS (.jsonl or .jsonl.gz).

    \b
    Example: python -m data_prep.lhotse recordings.jsonl.gz supervisions.jsonl.gz data/train
    """
    _corpus.write(out, prepare(recordings, supervisions, base=base, session=session))


if __name__ == "__main__":
    _corpus.main("lhotse", command)
