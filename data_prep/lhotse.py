"""Convert lhotse manifests to a data directory (lhotse is not needed).

python -m data_prep.lhotse RECORDINGS SUPERVISIONS OUT [--base FOLDER]
python -m data_prep.lhotse CUTS OUT [--base FOLDER]

The manifests are .jsonl or .jsonl.gz. Each supervision becomes an utterance, in cuts the part of it within the cut:
a segment, unless all utterances are whole recordings. Speaker, gender and language are copied; --session names the
field of `custom` that holds the session. A multi-channel recording becomes one recording per channel (NAME-A, NAME-B,
...). Recordings must be files without transforms; a command becomes a pipe, which later runs only with --allow-pipes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from data_prep import _corpus
from data_prep._manifests import absolute, number, read_objects, text
from data_prep._tree import as_words
from spkver.cli import outputs
from spkver.datadir import DataDir, from_columns
from spkver.errors import InputError

_SLACK = 0.02  # seconds by which a supervision of a whole recording may differ from it
_GENDERS = {"male": "m", "m": "m", "female": "f", "f": "f"}


class _Recording(NamedTuple):
    path: str
    seconds: float
    channels: list[int]


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
    channel: int | None

    def placed(self, start: float, seconds: float, of: float, where: str) -> _Utterance:
        """The utterance moved to `start` in a recording of `of` seconds; a start just below 0 (rounding) becomes 0."""
        if -_SLACK <= start < 0:
            start, seconds = 0.0, start + seconds
        if start < 0 or start + seconds <= start:
            raise InputError(
                f"{where}: start {start:g} s, duration {seconds:g} s: expected start >= 0 and duration > 0"
            )
        return self._replace(start=start, seconds=seconds, whole=start == 0 and abs(seconds - of) <= _SLACK)


def prepare(recordings: Path, supervisions: Path, *, base: Path | None = None, session: str | None = None) -> DataDir:
    """The supervisions as utterances.

    base: folder of relative paths; None: the current folder
    session: the field of `custom` that holds the session of a supervision
    Raises InputError with file and line for a manifest that cannot be converted.
    """
    known: dict[str, _Recording] = {}
    for where, value in read_objects(recordings):
        name = text(value, "id", where)
        if name in known:
            raise InputError(f"{where}: duplicate recording {name!r}")
        known[name] = _recording(value, where, base)
    rows = []
    for where, value in read_objects(supervisions):
        name = text(value, "recording_id", where)
        if name not in known:
            raise InputError(f"{where}: recording {name!r} is not in the recordings manifest")
        row = _utterance(value, where, name, known[name], session)
        rows.append(row.placed(row.start, row.seconds, known[name].seconds, where))
    return _datadir(rows, supervisions)


def prepare_cuts(cuts: Path, *, base: Path | None = None, session: str | None = None) -> DataDir:
    """The supervisions of single-recording cuts (MonoCut) as utterances. Arguments and errors as for `prepare`."""
    rows = []
    for where, value in read_objects(cuts):
        recording = value.get("recording")
        if value.get("type") != "MonoCut" or not isinstance(recording, dict):
            raise InputError(f"{where}: cut of type {value.get('type')!r}; only MonoCut with a recording is supported")
        name, held = text(recording, "id", where), _recording(recording, where, base)
        start, seconds = number(value, "start", where), number(value, "duration", where)
        for supervision in _objects(value, "supervisions", where):
            row = _utterance(supervision, where, name, held, session)
            first, last = max(row.start, 0.0), min(row.start + row.seconds, seconds)
            if first < last:
                rows.append(row.placed(start + first, last - first, held.seconds, where))
    return _datadir(rows, cuts)


def _datadir(rows: list[_Utterance], source: Path) -> DataDir:
    if not rows:
        raise InputError(f"{source}: no supervisions")
    whole = all(row.whole for row in rows) and len({row.recording for row in rows}) == len(rows)
    data = from_columns(
        ids=[row.id for row in rows],
        paths=[row.path for row in rows],
        speakers=[row.speaker for row in rows],
        seconds=[row.seconds for row in rows],
        genders=_known([row.gender for row in rows]),
        languages=_known([row.language for row in rows]),
        sessions=_known([row.session for row in rows]),
        recordings=None if whole else [row.recording for row in rows],
        starts=None if whole else [row.start for row in rows],
        ends=None if whole else [row.start + row.seconds for row in rows],
        channels=[row.channel for row in rows] if any(row.channel is not None for row in rows) else None,
    )
    return as_words(data)


def _known(values: list[str | None]) -> list[str | None] | None:
    return values if any(values) else None


def _objects(value: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    found = value.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{where}: {key!r} must be a list of objects, got {str(found)[:80]}")
    return found


def _recording(value: dict[str, Any], where: str, base: Path | None) -> _Recording:
    sources = _objects(value, "sources", where)
    if len(sources) != 1:
        raise InputError(f"{where}: expected one source, got {len(sources)}")
    if value.get("transforms"):
        raise InputError(f"{where}: the recording has transforms; apply them with lhotse and save the audio first")
    channels = value.get("channel_ids") or sources[0].get("channels") or [0]
    if not isinstance(channels, list) or not 0 < len(channels) <= 26:
        raise InputError(f"{where}: channels are {str(channels)[:80]}; expected a list of 1 to 26 channels")
    source, kind = text(sources[0], "source", where), sources[0].get("type")
    if kind == "file":
        path = absolute(source, base)
    elif kind == "command":
        path = f"{source.rstrip().removesuffix('|').rstrip()} |"
    else:
        raise InputError(f"{where}: source of type {kind!r}; only files and commands are supported")
    return _Recording(path, number(value, "duration", where), channels)


def _utterance(value: dict[str, Any], where: str, name: str, recording: _Recording, session: str | None) -> _Utterance:
    custom, language = value.get("custom"), value.get("language")
    channel = _channel(value.get("channel"), recording.channels, where)
    return _Utterance(
        id=text(value, "id", where),
        recording=name if channel is None else f"{name}-{chr(ord('A') + channel)}",
        path=recording.path,
        start=number(value, "start", where),
        seconds=number(value, "duration", where),
        whole=True,
        speaker=text(value, "speaker", where),
        gender=_GENDERS.get(str(value.get("gender")).lower()),
        language=language if isinstance(language, str) else None,
        session=None if session is None else text(custom if isinstance(custom, dict) else {}, session, where),
        channel=channel,
    )


def _channel(stated: Any, channels: list[int], where: str) -> int | None:
    """The 0-based index of the channel of a supervision in its file; None for a mono file."""
    if len(channels) == 1:
        return None
    if isinstance(stated, list) and len(stated) == 1:
        stated = stated[0]
    if stated not in channels:
        raise InputError(f"{where}: channel {stated!r}; expected one of the channels {channels} of the recording")
    return channels.index(stated)


_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("manifests", metavar="MANIFEST...", type=_PATH, nargs=-1, required=True)
@click.argument("out", type=outputs.DIRECTORY)
@click.option("--base", type=_PATH, help="Folder of relative paths [default: the current one].")
@click.option("--session", help="Field of `custom` that holds the session.")
def command(manifests: tuple[Path, ...], out: Path, base: Path | None, session: str | None) -> None:
    """Make the data directory OUT from lhotse manifests: recordings and supervisions, or cuts (.jsonl or .jsonl.gz).

    \b
    Example: python -m data_prep.lhotse recordings.jsonl.gz supervisions.jsonl.gz data/train
    """
    if len(manifests) == 1:
        data = prepare_cuts(manifests[0], base=base, session=session)
    elif len(manifests) == 2:
        data = prepare(*manifests, base=base, session=session)
    else:
        raise InputError(f"{len(manifests)} manifests; expected recordings and supervisions, or cuts")
    _corpus.write(out, data)


if __name__ == "__main__":
    _corpus.main("lhotse", command)
