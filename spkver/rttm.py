"""Who speaks when: turns in files of RTTM, JSON or Audacity labels, and the evaluated regions in UEM files.

RTTM has a line per turn, `SPEAKER recording channel start duration <NA> <NA> speaker <NA> <NA>`; lines of other types
and comments (`;;`) are ignored, and so is the channel. A line of UEM is `recording channel start end`. A JSON file is
`{"turns": [{"recording": ..., "start": ..., "end": ..., "speaker": ...}, ...]}` and may have more keys. A label track
of Audacity, `start end speaker` separated by tabs, belongs to the recording with the name of the file. All times
are in seconds, and are written in milliseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from spkver.errors import InputError
from spkver.files import StrPath, write_json, write_text
from spkver.lists import NUMBER
from spkver.storage import located
from spkver.text import parsed_json, read_text

# types of lines in RTTM that are not turns
_OTHERS = {"SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT", "SU", "IP"}
_OTHERS |= {"CB", "A/P", "SPKR-INFO"}
_NUMBER = re.compile(NUMBER)
_SPOILT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_BLANK = re.compile(r"\s+")


class Turn(NamedTuple):
    """Speech of one speaker in one recording, from `start` to `end` in seconds."""

    recording: str
    start: float
    end: float
    speaker: str


class Region(NamedTuple):
    """A part of a recording, from `start` to `end` in seconds."""

    recording: str
    start: float
    end: float


# --- reading ----------------------------------------------------------------------------------------------------------


def read_turns(path: StrPath) -> list[Turn]:
    """Read the turns of an RTTM, .json or Audacity label file, sorted. Turns without any duration are left out.

    Raises InputError with file and line for a line that is not a turn.
    """
    if located(path).suffix == ".json":
        turns = list(_of_json(path))
    else:
        lines = _lines(path)
        of_line = _of_labels(located(path).stem) if lines and _NUMBER.fullmatch(lines[0][1].split()[0]) else _of_rttm
        turns = [turn for place, line in lines if (turn := of_line(line, place)) is not None]
    return sorted(turn for turn in turns if turn.end > turn.start)


def read_uem(path: StrPath) -> list[Region]:
    """Read the regions of a UEM file, sorted. Raises InputError with file and line for a line that is not a region."""
    regions = []
    for place, line in _lines(path):
        fields = line.split()
        if len(fields) != 4:
            raise InputError(f"{place}: expected 'recording channel start end', got {line[:80]!r}")
        start, end = (_seconds(field, place) for field in fields[2:])
        if end <= start:
            raise InputError(f"{place}: the region ends at {end:g} s, but starts at {start:g} s")
        regions.append(Region(_read_name(fields[0], place), start, end))
    if not regions:
        raise InputError(f"{path}: no regions")
    return sorted(regions)


def _lines(path: StrPath) -> list[tuple[str, str]]:
    """`file:line` and the text of each line that is not a comment."""
    lines = enumerate(read_text(path).split("\n"), 1)  # splitlines would also split at other characters
    stripped = ((f"{path}:{number}", line.strip()) for number, line in lines)
    return [(place, line) for place, line in stripped if line and not line.startswith((";;", "\\"))]


def _of_rttm(line: str, place: str) -> Turn | None:
    fields = line.split()
    if fields[0] in _OTHERS:
        return None
    if fields[0] != "SPEAKER":
        raise InputError(f"{place}: not a line of RTTM, which starts with SPEAKER: {line[:80]!r}")
    if not 9 <= len(fields) <= 10:
        form = "SPEAKER recording channel start duration <NA> <NA> speaker <NA> <NA>"
        raise InputError(f"{place}: expected '{form}', got {line[:80]!r}")
    start, duration = (_seconds(field, place) for field in fields[3:5])
    return Turn(_read_name(fields[1], place), start, start + duration, _read_name(fields[7], place))


def _of_labels(recording: str) -> Callable[[str, str], Turn]:
    def turn(line: str, place: str) -> Turn:
        fields = line.split("\t")
        if len(fields) != 3:
            raise InputError(f"{place}: expected 'start end speaker' with tabs between them, got {line[:80]!r}")
        start, end = (_seconds(field, place) for field in fields[:2])
        return _forwards(Turn(recording, start, end, _read_name(fields[2], place)), place)

    return turn


def _of_json(path: StrPath) -> Iterator[Turn]:
    found = parsed_json(read_text(path), path)
    turns = found.get("turns") if isinstance(found, dict) else None
    if not isinstance(turns, list):
        raise InputError(f'{path}: expected {{"turns": [...]}}')
    for number, turn in enumerate(turns, 1):
        place = f"{path}: turn {number}"
        if not isinstance(turn, dict):
            raise InputError(f"{place}: expected an object, got {str(turn)[:80]}")
        recording, speaker = (_read_name(turn.get(key), f"{place}: '{key}'") for key in ("recording", "speaker"))
        start, end = (_number(turn.get(key), f"{place}: '{key}'") for key in ("start", "end"))
        yield _forwards(Turn(recording, start, end, speaker), place)


def _forwards(turn: Turn, place: str) -> Turn:
    if turn.end < turn.start:
        raise InputError(f"{place}: the turn ends at {turn.end:g} s, before it starts at {turn.start:g} s")
    return turn


def _seconds(text: str, place: str) -> float:
    """A time in a text file."""
    return _number(float(text) if _NUMBER.fullmatch(text) else text, place)


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InputError(f"{place}: expected seconds, a number that is not negative, got {str(value)[:80]!r}")
    return float(value)


def _read_name(value: Any, place: str) -> str:
    if not isinstance(value, str) or not value.strip() or _SPOILT.search(value):
        raise InputError(f"{place}: a name is a text without control characters, got {str(value)[:80]!r}")
    return value


# --- writing ----------------------------------------------------------------------------------------------------------


def write_turns(path: StrPath, turns: Iterable[Turn], **about: Any) -> None:
    """Write turns, sorted: .json, .txt (a label track of Audacity), or by any other name RTTM.

    Turns shorter than half a millisecond are left out. Blanks in names become underscores in RTTM, where a blank ends a
    name.

    about: more keys of a .json
    Raises InputError as `check_names`.
    """
    ordered = sorted(
        Turn(recording, round(start, 3), round(end, 3), speaker)
        for recording, start, end, speaker in turns
        if round(end, 3) > round(start, 3)
    )
    check_names(path, {turn.recording for turn in ordered}, {turn.speaker for turn in ordered})
    suffix = located(path).suffix
    if suffix == ".json":
        write_json(path, {**about, "turns": [turn._asdict() for turn in ordered]})
    elif suffix == ".txt":
        write_text(path, "".join(f"{start:.3f}\t{end:.3f}\t{speaker}\n" for _, start, end, speaker in ordered))
    else:
        names_of = _words(path, (turn.recording for turn in ordered)), _words(path, (turn.speaker for turn in ordered))
        write_text(path, "".join(_rttm_line(turn, *names_of) for turn in ordered))


def check_names(path: StrPath, recordings: Collection[str], speakers: Collection[str] = ()) -> None:
    """Raises InputError if the file cannot hold these names: see `write_turns`.

    That is for a name that is empty or has control characters, for names that are equal with underscores in RTTM, and
    for several recordings in a .txt.
    """
    for name in sorted({*recordings, *speakers}):
        _read_name(name, str(path))
    suffix = located(path).suffix
    if suffix == ".txt" and len(recordings) > 1:
        raise InputError(f"{path}: a label track is of one recording, these turns are of {len(recordings)}")
    if suffix not in (".txt", ".json"):
        _words(path, recordings), _words(path, speakers)


def _rttm_line(turn: Turn, recordings: Mapping[str, str], speakers: Mapping[str, str]) -> str:
    name, start, end, speaker = turn
    # the times are rounded, so that consecutive turns stay consecutive in the file
    return f"SPEAKER {recordings[name]} 1 {start:.3f} {end - start:.3f} <NA> <NA> {speakers[speaker]} <NA> <NA>\n"


def write_uem(path: StrPath, regions: Iterable[Region]) -> None:
    """Write regions, sorted. Names as for RTTM in `write_turns`."""
    ordered = sorted(regions)
    for region in ordered:
        _read_name(region.recording, str(path))
    names = _words(path, (region.recording for region in ordered))
    write_text(path, "".join(f"{names[name]} 1 {start:.3f} {end:.3f}\n" for name, start, end in ordered))


def _words(path: StrPath, names: Iterable[str]) -> dict[str, str]:
    """Every name as a word without blanks."""
    words = {name: _BLANK.sub("_", name) for name in sorted({*names})}
    by_word: dict[str, str] = {}
    for name, word in words.items():
        if by_word.setdefault(word, name) != name:
            raise InputError(f"{path}: '{by_word[word]}' and '{name}' are both '{word}' in this format; rename one")
    return words
